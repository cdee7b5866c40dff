"""run.json from its first state on, kept up to date. Each write goes to a new file, which is then renamed."""

import os
import platform
import signal
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from launcher.borders.files import overwrite, write_atomically
from launcher.borders.values import MOST_ATTEMPTS
from launcher.failure.verdict import Verdict
from launcher.machine.provenance import Provenance
from launcher.plan.spec import Plan, ProcessSpec, Ranks, Role
from launcher.processes.identity import boot_id
from launcher.rundir import RunDir
from launcher.runs.state import (
    AttemptState,
    FailureState,
    JobState,
    ProcessState,
    ProgressState,
    RankState,
    RunState,
    TorchrunState,
    VerdictState,
    state_json,
)

TIME_LIMIT = "time limit"  # the reason when Slurm's warning signal has stopped the run
RESERVED = 128 * 1024  # bytes; the failure block is what makes run.json long


class StateFile:
    """This node's run.json and the state in it."""

    def __init__(self, run: RunDir, state: RunState) -> None:
        self.run, self.state = run, state

    def write(self) -> None:
        """Raises OSError. Used at the start, where a full disk is an error; later it must not end a run."""
        write_atomically(self.run.state, state_json(self.state))

    def reserve_room(self) -> None:
        """Reserve disk space for the last write: a full disk is often the reason why a run ends."""
        with suppress(OSError):
            overwrite(self.run.reserve, bytes(RESERVED))

    def write_if_possible(self) -> None:
        with suppress(OSError, ValueError):  # launcher.log has the event too; the next change writes again
            self.write()

    def touch(self) -> None:
        """The heartbeat, for commands on another host, which cannot check our pid."""
        with suppress(OSError):
            os.utime(self.run.state)

    def next_attempt(self, plan: Plan, failure: FailureState | None) -> None:
        """The attempt has failed and the next begins. Servers and services keep running, so their state stays."""
        old = self.state
        failed = old.model_copy(update={"state": "failed", "exit_code": 1, "ended": time.time(), "failure": failure})
        new = first_state(plan, old.provenance, failed, old.job)
        kept = {process.name: process for process in old.processes}
        lasting = {spec.name for spec in plan.processes if spec.role is Role.SERVES}
        processes = [kept[process.name] if process.name in lasting else process for process in new.processes]
        lasts = ("supervisor", "guard", "watcher", "tmux_socket", "tmux_session", "tmux_keep", "tmux_each_rank")
        same = {name: getattr(old, name) for name in lasts}
        spares = tuple(node for node in new.spares if node in old.spares)  # the others have left
        self.run = plan.run
        self.state = new.model_copy(update={**same, "processes": processes, "spares": spares, "state": "running"})
        self.write_if_possible()

    def decide(self, verdict: Verdict) -> None:
        """The attempt has failed: what comes next."""
        self.state.verdict = VerdictState(**asdict(verdict), text=verdict.text, decided=time.time())

    def end(self, state: str, exit_code: int, failure: FailureState | None, reason: str | None = None) -> None:
        """The run has ended. `reason` says why it was stopped, unless a reason is already set."""
        with suppress(OSError):
            self.run.reserve.unlink(missing_ok=True)
        if state == "stopped" and self.state.reason is None:
            self.state.reason = reason
        if state == "stopped":
            self.state.verdict = None  # a restart that was to come, and does not
        if state == "failed":
            self._settle(failure)
        self.state = self.state.model_copy(
            update={"state": state, "exit_code": exit_code, "failure": failure, "ended": time.time()}
        )
        self.write_if_possible()

    def _settle(self, failure: FailureState | None) -> None:
        """Ranks that SIGTERM ended before we stopped anything: torchrun sent it, unless such a rank is the failure."""
        for process in self.state.processes:
            for rank in process.ranks:
                is_culprit = failure and (failure.component, failure.rank) == (process.name, rank.rank)
                if rank.exit_code == -signal.SIGTERM and rank.ended_by is None and not is_culprit:
                    rank.ended_by = "torchrun"


def first_state(
    plan: Plan, provenance: Provenance, earlier: RunState | None = None, job: JobState | None = None
) -> RunState:
    """The state before this attempt starts. `earlier` is the previous attempt's state, `job` this attempt's job."""
    state = RunState(
        name=plan.name,
        kind=plan.kind,
        attempt=plan.run.attempt,
        state="starting",
        node=plan.run.node,
        nodes=plan.node_count,
        places=plan.nodes.count if plan.nodes else 1,
        spares=plan.nodes.waiting if plan.nodes else (),
        host=platform.node(),
        boot_id=boot_id(),
        started=time.time(),
        grace=plan.grace,
        progress=ProgressState(**asdict(plan.progress)),
        processes=[_process_state(spec, plan.run) for spec in plan.processes],
        foreign_wandb=list(plan.foreign_wandb),
        own_checkpoints=plan.own_checkpoints,
        wandb=plan.wandb,
        provenance=provenance,
        cwd=earlier.cwd if earlier else Path.cwd(),
        run_id=plan.run_id,
        earlier=_attempts_before(earlier) if earlier else [],
    )
    state.put_job(job)
    return state


def _attempts_before(state: RunState) -> list[AttemptState]:
    if state.state == "queued":  # no attempt yet
        return state.earlier
    newest = AttemptState(**state.model_dump(include=set(AttemptState.model_fields)))
    return [*state.earlier, newest][-MOST_ATTEMPTS:]


def _process_state(spec: ProcessSpec, run: RunDir) -> ProcessState:
    first = spec.ranks.first if spec.ranks else 0
    ranks = [RankState(rank=rank, log=log) for rank, log in enumerate(spec.rank_logs, first)]
    silent = spec.ranks is not None and spec.ranks.console_is_empty
    return ProcessState(
        name=spec.name,
        log=spec.log,
        log_dir=spec.ranks.directory.parent if spec.ranks and spec.ranks.directory.parent != run.torchrun else None,
        panes=spec.rank_logs if silent else (spec.log,),
        gpus=spec.gpus,
        after=spec.after,
        has_ready_check=spec.ready is not None,
        torchrun=torchrun_state(spec.ranks) if spec.ranks else None,
        ranks=ranks,
    )


def torchrun_state(ranks: Ranks) -> TorchrunState:
    return TorchrunState(directory=ranks.directory, role=ranks.role, shown=ranks.shown, in_files=ranks.in_files)
