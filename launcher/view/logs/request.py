"""Checks the arguments of `launch logs` against the run. Each mistake is a UserError that lists the valid values."""

import re
import time
from dataclasses import dataclass
from datetime import date, datetime
from datetime import time as clock

from launcher.config.base import LONGEST_DURATION, parse_duration
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.runs.state import ProcessState, RunState, other_nodes
from launcher.view.logs.lines import LEVELS, key_at
from launcher.view.logs.reader import EntryFilter
from launcher.view.logs.sources import Source, attempts, sources


@dataclass(frozen=True)
class LogRequest:
    """The command line, as it was typed; the newest attempt and all lines unless something is given."""

    component: str | None = None
    ranks: tuple[int, ...] = ()
    attempt: int | None = None
    level: str | None = None
    since: str | None = None
    grep: str | None = None


@dataclass(frozen=True)
class Selection:
    """The logs to show. `run` is of the attempt that is meant."""

    run: RunDir
    state: RunState
    component: str | None
    ranks: tuple[int, ...]
    wanted: EntryFilter

    @property
    def has_several_ranks(self) -> bool:
        """Whether some could log alike, be it later."""
        if self.ranks:
            return len(self.ranks) > 1
        ranks = {source.label for source in self.sources() if source.rank is not None}
        return len(ranks) > 1 or any(len(process.ranks) > 1 for process in self.state.processes)

    def troubles(self) -> list[str]:
        """Why there are no more sources; each once."""
        return []

    def sources(self) -> list[Source]:
        """The files that are there by now, and those that are sure to come."""
        return [
            source
            for source in sources(self.run, self.state)
            if self.component in (None, source.component) and (not self.ranks or source.rank in self.ranks)
        ]


def select(run: RunDir, state: RunState, request: LogRequest) -> Selection:
    """Raises UserError when the run has no such attempt, component or rank, or a filter cannot be understood."""
    processes, component = _processes(run, state), request.component
    _check_component(state.name, processes, component)
    _check_ranks(state.name, processes, component, request.ranks)
    run = run.of(_attempt(run, state, request.attempt))
    return Selection(run, state, component, request.ranks, entry_filter(request))


def entry_filter(request: LogRequest) -> EntryFilter:
    """Raises UserError when a filter cannot be understood."""
    return EntryFilter(_level(request.level), _since(request.since), _pattern(request.grep))


def _processes(run: RunDir, state: RunState) -> list[ProcessState]:
    """Those of all nodes."""
    return [process for its in (state, *(other for _, other in other_nodes(run, state))) for process in its.processes]


def components_of(run: RunDir, state: RunState) -> list[str]:
    """What `launch logs RUN COMPONENT` may name."""
    return _components(_processes(run, state))


def _components(processes: list[ProcessState]) -> list[str]:
    return ["launcher", *dict.fromkeys(process.name for process in processes)]


def _check_component(run: str, processes: list[ProcessState], component: str | None) -> None:
    names = _components(processes)
    if component is not None and component not in names:
        raise UserError(f"run {run} has no component {component!r}", f"its components: {', '.join(names)}")


def _check_ranks(run: str, processes: list[ProcessState], component: str | None, ranks: tuple[int, ...]) -> None:
    meant = [process for process in processes if component in (None, process.name)]
    known = sorted({rank.rank for process in meant for rank in process.ranks})
    whose = f"run {run}" if component is None else component
    for rank in ranks:
        if not known:
            raise UserError(f"--rank {rank}: {whose} has no ranks")
        if rank not in known:
            raise UserError(f"--rank {rank}: {whose} has no such rank", f"its ranks: {known[0]} to {known[-1]}")


def _attempt(run: RunDir, state: RunState, attempt: int | None) -> int:
    there = attempts(run)
    if attempt is None or attempt in there:
        return attempt or state.attempt
    raise UserError(f"run {state.name} has no attempt {attempt}", f"its attempts: {', '.join(map(str, there))}")


def _level(name: str | None) -> int:
    if name is None:
        return 0
    meant = [level for level in LEVELS if name and level.startswith(name.upper())]
    if len(meant) != 1:
        raise UserError(
            f"--level {name}: there is no such level", f"the levels: {', '.join(LEVELS)}, or their beginnings"
        )
    return LEVELS[meant[0]]


def _since(text: str | None) -> bytes:
    """The key of the moment."""
    if text is None:
        return b""
    try:
        return key_at(time.time() - parse_duration(text))
    except ValueError:
        return key_at(_moment(text))


def _moment(text: str) -> float:
    """Seconds since the epoch, of a date, a time of today or both; local unless it has an offset."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.combine(date.today(), clock.fromisoformat(text)).timestamp()
    except ValueError:
        allowed = (
            f"write 30s, 10m or 1h30m for that long ago (at most {LONGEST_DURATION}), or 14:30 or 2026-11-23 14:30"
        )
        raise UserError(f"--since {text}: neither a duration nor a time", allowed) from None


def _pattern(text: str | None) -> re.Pattern[bytes] | None:
    try:
        return re.compile(text.encode()) if text else None
    except re.error as error:
        raise UserError(f"--grep {text}: not a regular expression: {error}") from None
