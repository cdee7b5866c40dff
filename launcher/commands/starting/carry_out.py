"""Carries out an attempt of a run, alone on this machine or with the other nodes. A dry run does not need this."""

import os
import secrets
from dataclasses import replace

from launcher import session
from launcher.borders.screen import printable
from launcher.config.run import Config, RLConfig
from launcher.config.serving import INFERENCE_TOKEN
from launcher.jobs.schedulers import own_job
from launcher.nodes.meeting import Meeting
from launcher.nodes.rendezvous import meet
from launcher.nodes.seal import inference_token
from launcher.nodes.secret import join_secret
from launcher.nodes.spare import wait_to_be_called, waits_text
from launcher.plan.build import make_plan
from launcher.plan.nodes import Nodes
from launcher.plan.spec import Machine, Plan
from launcher.runs.directory import check_free, directory_of
from launcher.runs.registry import spare_log
from launcher.runs.state import RunState
from launcher.view.console.detached import stay_behind


def carry_out(
    config: Config,
    machine: Machine,
    plan: Plan,
    detach: bool,
    clean: bool = False,
    earlier: RunState | None = None,
    trust: bool = False,
) -> int:
    """Run the plan. With several nodes, first wait for all of them, and take the run's name from node 0.

    A spare waits further, until it is needed or the run has ended.
    """
    run, name, attempt, meeting = plan.run, plan.name, plan.run.attempt, None
    if plan.nodes is None:
        machine = replace(machine, inference_token=os.environ.get(INFERENCE_TOKEN) or secrets.token_urlsafe())
    else:
        meeting = _meet(config, machine, plan, clean, earlier)
        if plan.nodes.is_spare:
            if detach:
                _leave_terminal(meeting)
            called = wait_to_be_called(replace(meeting, nodes=replace(meeting.nodes, held=())), _say)
            if isinstance(called, int):
                return called
            meeting = meeting.joined_late(called.nodes, called.attempt)
        name, attempt = meeting.welcome.name, meeting.welcome.attempt
        token = inference_token(meeting.secret, meeting.welcome.run_id) if meeting.secret else ""
        machine = replace(machine, run_id=meeting.welcome.run_id, inference_token=token)
        run = run if earlier else directory_of(config.output_dir, name)

    def plan_attempt(attempt: int, nodes: Nodes | None) -> Plan:
        return make_plan(config, replace(machine, nodes=nodes), run.of(attempt), name)

    return session.carry_out(plan_attempt, attempt, config, clean, detach, earlier, meeting, trust)


def _leave_terminal(meeting: Meeting) -> None:
    """The command has done its part: the spare waits in the background."""
    log = spare_log(meeting.welcome.name, meeting.nodes.rank)

    def words(pid: int) -> str:
        text = f"{waits_text(meeting)}, in the background as pid {pid}; it leaves the run with: kill {pid}\n"
        return text + (f"  its output: {printable(str(log))}\n" if log else "")

    stay_behind(meeting.welcome.name, words, log)


def _meet(config: Config, machine: Machine, plan: Plan, clean: bool, earlier: RunState | None) -> Meeting:
    """Wait for the other nodes. Raises UserError at once if this node cannot begin anyway."""
    assert plan.nodes is not None
    if earlier is None:
        check_free(plan.run, clean)
    beside = plan.run.root.parent if plan.kind == "rl" else None  # nodes of sft may have a directory each
    if own_job():  # its nodes share the directory, and perhaps nothing else
        beside = plan.run.root
    secret = join_secret(config.join_secret_file, os.environ, plan.nodes, beside)
    name = config.name if earlier is None else plan.name
    port = (config.inference.port or machine.free_port) if isinstance(config, RLConfig) else 0
    return meet(plan, name, port, config.join_timeout, _say, secret)


def _say(text: str) -> None:
    print(printable(text), flush=True)
