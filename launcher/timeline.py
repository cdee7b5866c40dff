"""The start of an attempt: what each component did when, and who was waited for.

It is put together from marks, which the supervisor and programs that call `setup_logger` write, and from the first line
of each metrics file. Times are wall clock.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import from_json

from launcher.borders.files import lines_of, open_regular
from launcher.borders.screen import in_one_line
from launcher.borders.values import Count, Moment, Name, is_number, step_of
from launcher.instrumentation.marks import IMPORTS, OUTPUT, READY, SPAWN
from launcher.rundir import RunDir
from launcher.runs.state import ProcessState, RunState

FIRST_STEP = "first step"
LONGEST_LINE = 4096  # bytes, of a mark
MOST_MARKS = 100_000  # of an attempt
MOST_PHASES = 32  # of a component
LONGEST_METRICS_LINE = 1 << 20  # bytes
BLOCK = 1 << 16  # bytes of a metrics file that are read line by line
NOTEWORTHY = 0.5  # seconds after the others at which a rank is the one that they waited for


@dataclass(frozen=True)
class Phase:
    """A part of a component's start. Times are seconds after the attempt's start."""

    name: str
    start: float
    end: float
    waits_for: str | None = None  # the component that it waited for
    rank: int | None = None  # that ended it last, if the others waited for it

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Row:
    component: str
    phases: tuple[Phase, ...]  # in order, without gaps

    @property
    def end(self) -> float:
        return self.phases[-1].end


@dataclass(frozen=True)
class Timeline:
    started: float  # seconds since the epoch
    rows: tuple[Row, ...]
    first_step: float | None  # of the trainer, or else of what shows the run's progress; None: there was none yet
    critical: tuple[tuple[str, Phase], ...]  # what the first step waited for, or else what is longest, in order


class _Mark(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, defer_build=True)

    component: Name
    phase: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    time: Moment
    rank: Count | None = None
    waits_for: Name | None = None


def read_timeline(run: RunDir, state: RunState) -> Timeline:
    """The start of the attempt that `run` is of, on its node. It may still be going on."""
    marks = list(_read_marks(run.marks))
    rows = [_row(run, state, process, marks) for process in state.processes]
    shown = tuple(row for row in rows if row.phases)
    last = _last_row(shown, state)
    end = _end_of(last, FIRST_STEP) if last else None
    return Timeline(state.started, shown, end, _critical(shown, last, end) if last else ())


# --- marks ------------------------------------------------------------------------------------------------------------


def _read_marks(path: Path) -> Iterator[_Mark]:
    """The marks of a file that others may have written. What is no mark is skipped."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            for _, line in zip(range(MOST_MARKS), lines_of(file, LONGEST_LINE), strict=False):
                try:
                    yield _Mark.model_validate_json(line)
                except ValidationError:
                    continue
    except OSError:
        return


def _row(run: RunDir, state: RunState, process: ProcessState, marks: Sequence[_Mark]) -> Row:
    ends = _ends([mark for mark in marks if mark.component == process.name])
    earliest = sorted(ends.items(), key=lambda item: (item[0] != READY, item[1].at))
    ends = dict(earliest[: MOST_PHASES - 2])  # a program may have any number of marks before its first step
    if _is_ours(ends):
        ends.pop(OUTPUT, None)  # its own marks say more
    if process.ready_after is not None and SPAWN in ends and READY not in ends:
        ends[READY] = _End(ends[SPAWN].at + process.ready_after)
    first = first_step_after(run.metrics(process.name), state.started) if SPAWN in ends else None
    if first is not None:
        ends[FIRST_STEP] = _End(first)
    by_time = sorted(ends.items(), key=lambda item: item[1].at)
    return Row(process.name, tuple(_phases(by_time, state.started, process)))


@dataclass(frozen=True)
class _End:
    at: float  # seconds since the epoch
    waits_for: str | None = None
    rank: int | None = None


def _ends(marks: Sequence[_Mark]) -> dict[str, _End]:
    """When each phase was over: on the last of the ranks, of which each counts once."""
    found: dict[str, dict[int | None, _Mark]] = {}
    for mark in marks:
        found.setdefault(in_one_line(mark.phase)[:40], {}).setdefault(mark.rank, mark)
    return {name: _last_of(list(ranks.values())) for name, ranks in found.items()}


def _last_of(marks: list[_Mark]) -> _End:
    *others, last = sorted(marks, key=lambda mark: mark.time)
    late = others and last.time - others[-1].time > NOTEWORTHY
    return _End(last.time, last.waits_for, last.rank if late else None)


def _is_ours(ends: dict[str, _End]) -> bool:
    return IMPORTS in ends


def _phases(ends: Sequence[tuple[str, _End]], started: float, process: ProcessState) -> Iterator[Phase]:
    start = 0.0
    for name, end in ends:
        waits_for = process.after[-1] if name == SPAWN and process.after else end.waits_for
        at = max(start, end.at - started)
        yield Phase(name, start, at, waits_for, end.rank)
        start = at


def _end_of(row: Row, phase: str) -> float | None:
    return next((each.end for each in row.phases if each.name == phase), None)


# --- metrics ----------------------------------------------------------------------------------------------------------


def first_step_after(path: Path, moment: float) -> float | None:
    """When the first step after a moment was logged, in seconds since the epoch. Of a long file only parts are read."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            low, high = 0, file.seek(0, os.SEEK_END)
            while high - low > BLOCK:
                middle = (low + high) // 2
                file.seek(middle)
                file.readline(LONGEST_METRICS_LINE)  # the rest of a line
                _, time = _step_and_time(file.readline(LONGEST_METRICS_LINE))
                low, high = (middle, high) if time is not None and time < moment else (low, middle)
            file.seek(low)
            for line in lines_of(file, LONGEST_METRICS_LINE):
                step, time = _step_and_time(line)
                if step and time is not None and time >= moment:
                    return time
    except OSError:
        pass
    return None


def _step_and_time(line: bytes) -> tuple[int | None, float | None]:
    try:
        record = from_json(line)
    except ValueError:
        return None, None
    time = record.get("time") if isinstance(record, dict) else None
    return step_of(record), float(time) if is_number(time) and 0 <= time < 4e9 else None


# --- who was waited for -----------------------------------------------------------------------------------------------


def _last_row(rows: Sequence[Row], state: RunState) -> Row | None:
    """The row with the first step, or else the one that ends last."""
    stepped = [row for row in rows if _end_of(row, FIRST_STEP) is not None]
    names = ("trainer", state.progress.component)
    found = next((row for name in names for row in stepped if row.component == name), None)
    return found or max(rows, key=lambda row: row.end, default=None)


def _critical(rows: Sequence[Row], last: Row, end: float | None) -> tuple[tuple[str, Phase], ...]:
    """The chain of phases up to the first step: each began when the one before it was over.

    Where a component waited for another one, the chain continues in that one.
    """
    chain = list[tuple[str, Phase]]()
    _follow({row.component: row for row in rows}, last, last.end if end is None else end, chain)
    return tuple(reversed(chain))


def _follow(rows: dict[str, Row], row: Row, end: float, chain: list[tuple[str, Phase]]) -> None:
    """Add the phases of a row before `end`, the last one first; from a wait on, those of the row that it was for."""
    seen = set[str]()
    while True:
        for phase in reversed(row.phases):
            if phase.start >= end or (phase.waits_for and phase.end > end):  # what just begins to wait held nobody up
                continue
            until, other, key = min(phase.end, end), _awaited(rows, phase), f"{row.component} {phase.name}"
            if other and key not in seen and _was_at_work(other, phase.start, until):
                seen.add(key)
                row, end = other, until
                break
            if until > phase.start:
                chain.append((row.component, Phase(phase.name, phase.start, until, phase.waits_for, phase.rank)))
        else:
            return


def _awaited(rows: dict[str, Row], phase: Phase) -> Row | None:
    """The row of the component that was waited for; of the replicas of inference the one that took longest."""
    if phase.waits_for is None or phase.waits_for in rows:
        return rows.get(phase.waits_for or "")
    replicas = [row for name, row in rows.items() if name.rpartition("-")[0] == phase.waits_for]
    return max(replicas, key=lambda row: row.end, default=None)


def _was_at_work(row: Row, start: float, end: float) -> bool:
    """Whether a phase of its start was going on within this time."""
    return any(phase.start < end and phase.end > start for phase in row.phases)
