"""Reading what `metrics/<component>.jsonl` says, while it is being written."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from launcher.files import reading
from launcher.plan.spec import Progress
from launcher.run.state import ProgressState

TAIL = 8192  # bytes: some twenty steps


class MetricsReader:
    """A metrics file and how far it has been read; it need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0  # bytes
        self._rest = b""

    def new_lines(self) -> list[dict[str, Any]]:
        """The steps that were added since the last call; a file that became shorter is read from its start."""
        try:
            if self.path.stat().st_size == self._read:
                return []
            with reading(self.path) as file:
                if file.seek(0, 2) < self._read:
                    self._read, self._rest = 0, b""
                file.seek(self._read)
                block = file.read()
        except OSError:
            return []
        self._read += len(block)
        *lines, self._rest = (self._rest + block).split(b"\n")
        return [values for line in lines if (values := _parse(line)) is not None]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All steps of a metrics file; empty when there is none."""
    return MetricsReader(path).new_lines()


def read_newest(path: Path, size: int = TAIL) -> list[dict[str, Any]]:
    """The steps in the last `size` bytes of a metrics file, at least one if there is any: quick, however long it is."""
    try:
        with reading(path) as file:
            start = max(0, file.seek(0, 2) - size)
            file.seek(start)
            lines = file.read().split(b"\n")
    except OSError:
        return []
    steps = [values for line in lines[:-1] if (values := _parse(line)) is not None]
    return steps if steps or start == 0 else read_newest(path, 8 * size)


def newest_values(steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The newest number of each metric within the last five steps: an evaluation, say, is not in every step."""
    recent = {name: value for step in steps[-5:] for name, value in step.items() if _is_number(value)}
    return {name: value for name, value in recent.items() if name not in ("step", "time")}


def series(steps: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    """The values of one metric, where a step has it."""
    return [float(step[metric]) for step in steps if _is_number(step.get(metric))]


def progress_text(progress: Progress | ProgressState, step: Mapping[str, Any]) -> str:
    """ "step 40/150  loss 0.123"."""
    value = step.get(progress.metric)
    metric = f"  {progress.metric} {value:.3f}" if isinstance(value, float) else ""
    return f"step {steps_text(step['step'], progress.max_steps)}{metric}"


def steps_text(step: int | None, max_steps: int | None) -> str:
    """ "40/150", or "40" where nobody knows how many there will be; "-" for none yet."""
    done = "-" if step is None else str(step)
    return done if max_steps is None else f"{done}/{max_steps}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        values = from_json(line)  # five times as fast as json, which shows with a thousand runs
    except ValueError:
        return None
    return values if isinstance(values, dict) and isinstance(values.get("step"), int) else None
