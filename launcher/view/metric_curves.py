"""Reading what `metrics/<component>.jsonl` says, while it is being written."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

from launcher.borders.files import read_end, reading
from launcher.borders.growing_file import GrowingFile
from launcher.borders.screen import in_one_line
from launcher.borders.values import is_number, step_of
from launcher.numbers import mean, three_digits
from launcher.plan.spec import Plan, Progress
from launcher.runs.state import ProgressState

TAIL = 8192  # bytes: some twenty steps
WHOLE = 32 * 1024  # bytes; of a longer file samples are read, so that a run of any length is seen at once
SAMPLE, LONGEST = 1024, 128 * 1024  # bytes that are read for a point: with lines of usual length, and at most
LONGEST_LINE = 1 << 20  # bytes
MOST = 1 << 26  # bytes that are read at once
LONGEST_NAME = 200  # characters of a metric's
ENDS = 1 << 20  # bytes of a file's beginning and end in which the first and the last evaluation are looked for

FirstAndLast = tuple[tuple[int, float], tuple[int, float]]
"""(step, value) of the first and of the last step that has a metric."""

EVALUATION = re.compile(r"(evaluation|validation)/(.+/)?(reward|loss|exact_match)")


class MetricsReader:
    """A metrics file and how far it has been read; it need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._file = GrowingFile(path)
        self._rest = b""

    def new_lines(self) -> list[dict[str, Any]]:
        """The steps that were added since the last call; a file that became shorter is read from its start.

        Of more than `MOST` bytes at once the newest ones are read.
        """
        added = self._file.added(MOST, newest=True)
        if added.skipped or added.is_anew:  # the rest of a line that was cut is not a step
            self._rest = b""
        *lines, self._rest = (self._rest + added.block).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            self._rest = b""
        return _steps(lines)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All steps of a metrics file; empty when there is none."""
    return MetricsReader(path).new_lines()


def read_newest(path: Path, size: int = TAIL) -> list[dict[str, Any]]:
    """The steps in the last `size` bytes of a metrics file, at least one if there is any: quick, however long it is."""
    try:
        end = read_end(path, size)
    except OSError:
        return []
    steps = _steps(end.split(b"\n")[:-1])
    return steps if steps or len(end) < size or size > LONGEST_LINE else read_newest(path, 8 * size)


def steps_made(plan: Plan) -> int | None:
    """The newest step of the run. 0 before the first one; None if the program may never say which step it is at."""
    spec = plan.process(plan.progress.component)
    steps = read_newest(plan.run.metrics(plan.progress.component))
    if steps:
        return int(steps[-1]["step"])
    return 0 if plan.own_checkpoints or (spec and spec.progress) else None


def read_curve(path: Path, metric: str, points: int) -> list[float]:
    """The values of a metric over the whole file, oldest first: all of a short one, about `points` of a long one.

    Each of the latter is the mean of a few neighbouring steps.
    """
    try:
        with reading(path) as file:
            size = file.seek(0, 2)
            if size > WHOLE:
                return list(_sampled(file, size, metric, points))
            file.seek(0)
            return series(_steps(file.read().split(b"\n")[:-1]), metric)
    except OSError:
        return []


def read_first_and_last(path: Path, metric: str) -> FirstAndLast | None:
    """The metric where it stands first and last, within `ENDS` bytes of the file's beginning and end."""
    return _first_and_last(*_ends(path), metric)


def read_evaluations(path: Path) -> dict[str, FirstAndLast]:
    """The same for each metric of an evaluation."""
    beginning, end = _ends(path)
    names = dict.fromkeys(name for step in beginning + end for name in step if EVALUATION.fullmatch(name))
    found = ((name, _first_and_last(beginning, end, name)) for name in names)
    return {name: ends for name, ends in found if ends}


def _ends(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    try:
        with reading(path) as file:
            beginning = _steps(file.read(ENDS).split(b"\n")[:-1])
            is_long = len(file.read(1)) > 0
    except OSError:
        return [], []
    return beginning, read_newest(path, ENDS) if is_long else beginning


def _first_and_last(
    beginning: Sequence[Mapping[str, Any]], end: Sequence[Mapping[str, Any]], metric: str
) -> FirstAndLast | None:
    def reading_of(steps: Iterable[Mapping[str, Any]]) -> tuple[int, float] | None:
        return next(((step["step"], float(step[metric])) for step in steps if is_number(step.get(metric))), None)

    found = [reading_of([*beginning, *end]), reading_of(reversed([*beginning, *end]))]
    return (found[0], found[1]) if found[0] and found[1] else None


def _sampled(file: BinaryIO, size: int, metric: str, points: int) -> Iterator[float]:
    file.seek(size - TAIL)
    lines = file.read(TAIL).count(b"\n")
    length = max(SAMPLE, 3 * TAIL // lines) if lines > 2 else LONGEST
    for point in range(points):
        start = (size - length) * point // max(1, points - 1)
        file.seek(start)
        block = file.read(length).split(b"\n")
        values = series(_steps(block[1 if start else 0 : -1]), metric)
        if values:
            yield mean(values)


def _steps(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    return [values for line in lines if (values := _parse(line)) is not None]


def newest_values(steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The newest number of each metric within the last five steps: an evaluation, say, is not in every step."""
    recent = {name: value for step in steps[-5:] for name, value in step.items() if is_number(value)}
    return {name: value for name, value in recent.items() if name not in ("step", "time")}


def series(steps: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    """The values of one metric, where a step has it."""
    return [float(step[metric]) for step in steps if is_number(step.get(metric))]


def progress_text(progress: Progress | ProgressState, step: Mapping[str, Any]) -> str:
    """ "step 40/150  loss 0.123"."""
    metric = metric_text(progress.metric, step)
    return f"step {steps_text(step['step'], progress.max_steps)}{f'  {metric}' if metric else ''}"


def metric_text(metric: str, step: Mapping[str, Any]) -> str:
    """ "loss 0.123"; empty when the step has no such number."""
    value = step.get(metric)
    return value_text(metric, value) if is_number(value) else ""


def value_text(name: str, value: float) -> str:
    """ "loss 0.123", "12.4k tokens/s"."""
    speed = name.removeprefix("perf/").removesuffix("_per_s")
    return f"{three_digits(value)} {speed}/s" if name.endswith("_per_s") else f"{name} {three_digits(value)}"


def steps_text(step: int | None, max_steps: int | None) -> str:
    """ "40/150", or "40" where nobody knows how many there will be; "-" for none yet."""
    done = "-" if step is None else str(step)
    return done if max_steps is None else f"{done}/{max_steps}"


def _parse(line: bytes) -> dict[str, Any] | None:
    """A step, as others may have written it: its names can be shown, its values are finite numbers or None."""
    try:
        values = from_json(line)  # five times as fast as json, which shows with a thousand runs
    except ValueError:
        return None
    step = step_of(values)
    if step is None:
        return None
    return {_name(name): value if is_number(value) else None for name, value in values.items()} | {"step": step}


@lru_cache(maxsize=1024)
def _name(name: str) -> str:
    return in_one_line(name)[:LONGEST_NAME]
