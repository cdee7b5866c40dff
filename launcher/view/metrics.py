"""Reading what `metrics/<component>.jsonl` says, while it is being written."""

import json
from pathlib import Path
from typing import Any


class MetricsReader:
    """A metrics file and how far it has been read; it need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0  # bytes
        self._rest = b""

    def new_lines(self) -> list[dict[str, Any]]:
        """The steps that were added since the last call; a file that became shorter is read from its start."""
        try:
            with self.path.open("rb") as file:
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


def series(steps: list[dict[str, Any]], metric: str) -> list[float]:
    """The values of one metric, where a step has it."""
    return [float(step[metric]) for step in steps if isinstance(step.get(metric), (int, float))]


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) and "step" in values else None
