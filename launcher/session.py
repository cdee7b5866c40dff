"""Runs a plan and returns the exit code: connects supervisor and views for `launch rl`, `launch sft` and `resume`."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from launcher.config.run import RunConfig
from launcher.errors import UserError
from launcher.failure.cause import find_cause
from launcher.failure.failure import Culprit, Diagnosis, Failure
from launcher.failure.verdict import Setback, setback, used_up
from launcher.jobs.jobs import job_of_attempt, why_stopped
from launcher.jobs.schedulers import own_job
from launcher.logger import get_logger, log_to
from launcher.machine.limits import shortage
from launcher.machine.provenance import provenance
from launcher.nodes.meeting import SHARED_WITHIN, Meeting
from launcher.nodes.messages import LookAt
from launcher.nodes.peers import Links
from launcher.notify.channels import check_channels
from launcher.notify.notifier import Notifier
from launcher.plan.nodes import Nodes
from launcher.plan.spec import Plan, Role
from launcher.processes.guard_fork import Guard, split
from launcher.processes.identity import identify
from launcher.runs.directory import add_attempt, await_shared, point_latest_at, prepare, sign
from launcher.runs.elsewhere import remove_weights_elsewhere
from launcher.runs.on_exit import run_on_exit
from launcher.runs.registry import register
from launcher.runs.state import RunState
from launcher.runs.state_file import StateFile, first_state
from launcher.stacks.collectives import collective_lines
from launcher.stacks.diagnosis import diagnose, take_look
from launcher.stacks.looks import Look
from launcher.stacks.recorders import written_records
from launcher.supervisor.conduct import Conduct
from launcher.supervisor.listeners.evidence import Witness
from launcher.supervisor.listeners.log_metrics import ProgressWatch
from launcher.supervisor.listeners.marks import StartMarks
from launcher.supervisor.listeners.state import StateListener
from launcher.supervisor.rules.actions import Action, Listener
from launcher.supervisor.rules.events import Event
from launcher.supervisor.rules.lifecycle import State
from launcher.supervisor.rules.node_policy import NodePolicy
from launcher.supervisor.rules.policy import Policy
from launcher.supervisor.supervisor import supervise
from launcher.view.console.acts import acts_for
from launcher.view.console.console import Console
from launcher.view.console.detached import Detached, leave_terminal
from launcher.view.console.event_log import log_event
from launcher.view.metric_curves import steps_made
from launcher.view.report import failure_block, failure_state, header, resume_note, typed_name
from launcher.view.summary import summary
from launcher.view.tmux.run_panes import RunPanes

PlanAttempt = Callable[[int, Nodes | None], Plan]
"""Makes the plan of an attempt. The attempts of a run differ only in their paths, and in the nodes that they run on."""


class Screen(Protocol):
    """Shows a run to the person who started it."""

    def __call__(self, event: Event | Action) -> None: ...

    def close(self, last_words: str, exit_code: int) -> None: ...


def carry_out(
    plan_attempt: PlanAttempt,
    attempt: int,
    config: RunConfig,
    clean: bool,
    detach: bool,
    earlier: RunState | None,
    meeting: Meeting | None = None,
    trust: bool = False,
) -> int:
    """Carry out the plan of an attempt: everything from the run's directory to its summary.

    `earlier` is the state of the earlier attempts. `meeting` has the other nodes, if there are any. Returns launch's
    exit code. Raises UserError when the run's directory cannot be used.
    """
    notes: list[str] = []
    try:
        plan = plan_attempt(attempt, meeting.nodes if meeting else None)
        notes += check_channels(config.notify) if not plan.run.node else ()  # node 0 speaks for all
        if meeting and meeting.nodes.rank and plan.kind == "rl":
            await_shared(plan.run, meeting.welcome.run_id, SHARED_WITHIN)
        state = StateFile(plan.run, first_state(plan, provenance(), earlier, job_of_attempt(earlier)))
        state.state.tmux_socket, state.state.tmux_keep = config.tmux.socket_name, config.tmux.keep
        state.state.tmux_each_rank = config.tmux.each_rank
        lock = prepare(plan, clean, resume=earlier is not None, say=notes.append, trust=trust)
        state.state.guard = identify(os.getpid())
        state.write_if_possible()
        make_ready(plan, state)
    except UserError as error:
        if meeting:
            meeting.call_off(str(error))
        raise

    links = meeting.begin() if meeting else None
    register(plan.run.root, plan.name)
    state.reserve_room()
    panes = RunPanes(config.tmux)
    notes += [note for note in (panes.open(plan.run, state.state), resume_note(plan)) if note]
    if config.output_dir is None and earlier is None and not plan.run.node:
        point_latest_at(plan.run)
    pipe = leave_terminal(typed_name(plan)) if detach else None
    guard_pid = os.getpid()
    try:
        guard = split(plan.run.root)
        sign(lock)
        state.state.guard, state.state.supervisor = identify(guard_pid), identify(os.getpid())
        state.state.watcher = identify(os.getppid())
        return _Session(plan, plan_attempt, config, state, lock, links, panes).run(guard, pipe, notes)
    except Exception as error:
        if state.state.ended is None:  # otherwise the run would look as if it had been killed
            state.end("failed", 1, None)
        if short := shortage(error):
            raise short from None

        get_logger().exception("launch itself has failed")  # stderr may be closed
        raise


def make_ready(plan: Plan, state: StateFile) -> None:
    """Run the commands that must have ended before the first process starts. Raises UserError when one fails."""
    try:
        for command in plan.first:
            _run(command)
    except BaseException:  # Ctrl-C, for one: the run has failed, and does not look as if it had been killed
        remove_weights_elsewhere(plan.run)
        state.end("failed", 2, None)
        raise


def _run(command: tuple[str, ...]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError((done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1])


class _Session:
    """The supervisor's process, from its start to its exit code."""

    def __init__(
        self,
        plan: Plan,
        plan_attempt: PlanAttempt,
        config: RunConfig,
        state: StateFile,
        lock: int,
        links: Links | None,
        panes: RunPanes,
    ) -> None:
        self.plan, self.plan_attempt, self.config, self.state, self.lock = plan, plan_attempt, config, state, lock
        self.links, self.panes = links, panes

    def run(self, guard: Guard, pipe: int | None, notes: list[str]) -> int:
        log_to(self.plan.run.launcher_log)
        for note in notes:
            get_logger().info("{}", note)
        state, config = self.state.state, self.config
        state.state = "running"
        self.state.write_if_possible()
        screen = self._screen(header(self.plan, state.tmux_session, notes), pipe)
        self.panes.show_status(self.plan, state)
        conduct = Conduct(
            guard=guard,
            signals_reach_all=own_job() is not None,
            stop_on_hangup=config.on_hangup == "stop",
            backoff=config.restart_backoff,
            next_attempt=self._next_attempt,
            setback=self._setback,
            watchdog=config.watchdog,
            look=self._look,
            diagnose=self._diagnose,
            links=self.links,
            explain=self._failure,
        )
        self.witness = Witness(self.plan)
        self.progress = ProgressWatch(self.plan)
        notifier = Notifier(self.plan, config.notify)
        keep = StateListener(self.state, lambda write: asyncio.get_running_loop().call_soon(write))
        listeners: list[Listener] = [
            log_event,
            keep,
            screen,
            self.progress,
            self.witness,
            StartMarks(self.plan),
            notifier,
        ]
        policy = supervise(self.plan, listeners, conduct)
        self.progress.close()
        last_words = self._end(policy, self.progress.troubles())
        self.panes.close(policy.state.value)
        get_logger().info("{}", last_words)
        screen.close(last_words, policy.exit_code)
        notifier.end(self.state.state)
        return policy.exit_code

    def _screen(self, header: str, pipe: int | None) -> Screen:
        if pipe is not None:
            return Detached(self.plan, header, pipe)
        log = get_logger()
        lost = "the console is gone ({}); the run continues"
        return Console(
            self.plan,
            header,
            self.config.every_line,
            lambda error: log.info(lost, error),
            self.config.plain,
            self.state.state.guard.pid if self.state.state.guard else 0,
            acts_for(lambda: (self.plan, self.state.state)),
        )

    def _setback(self, failure: Failure | None) -> Setback:
        """How the attempt failed. Nothing of it is alive any more."""
        self.progress.catch_up()
        return setback(failure, steps_made(self.plan), time.time() - self.state.state.started)

    def _next_attempt(self, policy: Policy) -> Plan:
        """The attempt has failed: record its failure, and make the next attempt's plan and directory."""
        failure, verdict = self._failure(policy), self._verdict()
        if failure:
            get_logger().info("{}", failure_block(self.plan, failure, verdict))
        changed = policy.next_nodes if isinstance(policy, NodePolicy) else None
        plan = self.plan_attempt(self.plan.run.attempt + 1, changed or self.plan.nodes)
        lasting = {spec.name: spec for spec in self.plan.processes if spec.role is Role.SERVES}
        failed, self.plan = (
            self.plan,
            replace(plan, processes=tuple(lasting.get(spec.name, spec) for spec in plan.processes)),
        )
        add_attempt(self.plan)
        self.state.next_attempt(self.plan, failure_state(failed, failure, verdict))
        log_to(self.plan.run.launcher_log)
        self.panes.renew(self.plan.run, self.state.state)
        return self.plan

    def _verdict(self) -> str | None:
        found = self.state.state.verdict
        return found.text if found else None

    def _look(self, at: LookAt) -> Look:
        return take_look(self.plan.run, self.state.state, at)

    def _diagnose(self, looks: Sequence[Look]) -> Diagnosis:
        return diagnose(self.plan.run, self.state.state, looks)

    def _failure(self, policy: Policy) -> Failure | None:
        def facts(culprit: Culprit) -> list[str]:
            return [*self.witness.facts(culprit), *collective_lines(written_records(self.plan), time.time())]

        return find_cause(self.plan, policy.culprit, tuple(policy.collateral), policy.told, facts)

    def _end(self, policy: Policy, troubles: Mapping[str, str]) -> str:
        """Record how the run ended, and return the text to show."""
        failure = self._failure(policy)
        verdict, reason = self._last_verdict(policy, failure), policy.stopped_by
        if policy.state is State.STOPPED and self.state.state.reason is None:
            reason = why_stopped(self.state.state) or reason
        self.state.end(policy.state.value, policy.exit_code, failure_state(self.plan, failure, verdict), reason)
        shutil.rmtree(self.plan.run.sockets, ignore_errors=True)
        remove_weights_elsewhere(self.plan.run)
        self._on_exit()
        os.close(self.lock)  # release the directory now: a console that nobody reads may block us
        words = summary(self.plan, self.state.state, troubles)
        return failure_block(self.plan, failure, verdict) + words if failure else words

    def _last_verdict(self, policy: Policy, failure: Failure | None) -> str | None:
        """Why a run that has failed is not restarted. None if restarts were not asked for, or it was stopped."""
        if policy.state is not State.FAILED:
            return None
        if (asked := self.config.max_restarts) and policy.is_used_up:
            self.state.decide(used_up(failure, asked))
        return self._verdict()

    def _on_exit(self) -> None:
        command = self.config.on_exit
        trouble = run_on_exit(command, self.plan.run, self.state.state) if command else None
        if trouble:
            get_logger().warning("--on-exit {}: {}", command, trouble)
