"""Keeps run.json up to date. Each write goes to a new file, which is then renamed."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict

from launcher.borders.files import overwrite, write_atomically
from launcher.failure.verdict import Verdict
from launcher.plan.spec import Plan, Role
from launcher.rundir import RunDir
from launcher.runs.state import FailureState, RunState, VerdictState, first_state, state_json

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
        lasts = ("supervisor", "guard", "watcher", "tmux_socket", "tmux_session", "tmux_keep")
        same = {name: getattr(old, name) for name in lasts}
        self.run = plan.run
        self.state = new.model_copy(update={**same, "processes": processes, "state": "running"})
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
