"""Looks at the processes of a run as they are now. The state file may be out of date."""

from dataclasses import dataclass
from typing import Literal

from launcher.processes.identity import ProcessId, started_at
from launcher.runs.liveness import GOING_ON, TrueState, is_alive_here, is_local
from launcher.runs.state import Ender, ProcessState, RankState, RunState
from launcher.runs.usage import Usage, measure, with_descendants

Presence = Literal["not started", "running", "exited", "gone", "unknown"]


@dataclass(frozen=True)
class ProcessStatus:
    name: str
    pid: int | None
    state: Presence  # "gone": its exit code is unknown; "unknown": its host is silent
    exit_code: int | None  # negative: the signal
    ended_by: Ender | None  # None: it ended by itself, or still runs
    usage: Usage | None  # with its descendants; None unless it runs on this host
    started: float | None  # seconds since the epoch; None unless it runs on this host


@dataclass(frozen=True)
class RankStatus(ProcessStatus):
    rank: int  # global rank
    log: str


@dataclass(frozen=True)
class ComponentStatus(ProcessStatus):
    log: str
    ready_after: float | None  # seconds; None if it is not ready or has no check
    restarts: int  # of a server or service
    gpus: tuple[str, ...]
    ranks: tuple[RankStatus, ...]


@dataclass(frozen=True)
class Inspection:
    launchers: tuple[ProcessStatus, ...]  # launch's own: supervisor, watcher and guard
    components: tuple[ComponentStatus, ...]


def inspect_processes(state: RunState, truth: TrueState) -> Inspection:
    """Look at every process of a run (0.2 s if any is alive). `truth` is the run's true state."""
    return _Inspector(state, truth).inspect()


class _Inspector:
    def __init__(self, state: RunState, truth: TrueState) -> None:
        self._run, self._truth = state, truth
        self._usage = measure(_groups(state) if is_local(state) else {})

    def inspect(self) -> Inspection:
        return Inspection(
            tuple(ProcessStatus(name, *self._look(process)) for name, process in self._run.own_processes().items()),
            tuple(map(self._component, self._run.processes)),
        )

    def _component(self, process: ProcessState) -> ComponentStatus:
        look = self._look(process.process, process.exit_code, process.ended_by)
        ranks = tuple(map(self._rank, process.ranks))
        more = (str(process.log), process.ready_after, process.restarts, process.gpus, ranks)
        return ComponentStatus(process.name, *look, *more)

    def _rank(self, rank: RankState) -> RankStatus:
        return RankStatus(
            f"rank {rank.rank}", *self._look(rank.process, rank.exit_code, rank.ended_by), rank.rank, str(rank.log)
        )

    def _look(
        self, process: ProcessId | None, exit_code: int | None = None, ended_by: Ender | None = None
    ) -> tuple[int | None, Presence, int | None, Ender | None, Usage | None, float | None]:
        """pid, presence, exit code, who ended it, usage, since when it runs."""
        pid = process.pid if process else None
        presence = "exited" if ended_by else self._presence(process, exit_code)
        if process is None or presence != "running" or not is_local(self._run):
            return pid, presence, exit_code, ended_by, None, None
        return pid, presence, exit_code, ended_by, self._usage.get(process.pid), started_at(process)

    def _presence(self, process: ProcessId | None, exit_code: int | None) -> Presence:
        if exit_code is not None:
            return "exited"
        if process is None:
            return "not started"
        if is_local(self._run):
            return "running" if is_alive_here(self._run, process) else "gone"
        if self._truth == "silent":
            return "unknown"
        return "running" if self._truth in GOING_ON else "gone"


def _groups(state: RunState) -> dict[int, list[int]]:
    """The pids to measure together, by main pid: for components and ranks with their descendants."""
    launchers = filter(None, state.own_processes().values())
    groups = {process.pid: [process.pid] for process in launchers if is_alive_here(state, process)}
    living = {process.pid for process in state.component_processes().values() if is_alive_here(state, process)}
    return groups | {pid: with_descendants(pid) for pid in living}
