"""Where metrics go: the interface of a sink, and the metrics file, which is always written."""

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from loguru import logger

from launcher.borders.files import appending, lines_of, open_regular, replacing
from launcher.borders.values import is_number, step_of

LONGEST_LINE = 1 << 20  # bytes; a longer line is skipped
LARGEST = 1 << 30  # bytes of a metrics file: millions of steps

Number = float
"""An int, a float, or what `float()` takes: a tensor or an array of one element."""


class Sink:
    """Receives metrics. A sink ignores what it cannot use."""

    def log(self, metrics: Mapping[str, Number], step: int) -> None:
        """The metrics of one step."""

    def log_samples(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        """Some of a step's samples: prompt, completion, reward, advantage, problem."""

    def log_distributions(self, step: int, distributions: Mapping[str, Sequence[Number]]) -> None:
        """The individual values of a step, of which its metrics are the means."""

    def wants_extras(self, step: int) -> bool:
        """Whether samples and distributions of this step would be logged."""
        return False

    def rewind(self, step: int) -> None:
        """Forget what was logged after `step`: it will be logged again."""

    def finish(self, exit_code: int) -> None:
        """The last call: the process is about to exit with `exit_code`."""


class MetricsFile(Sink):
    """One strict JSON object per line: the metrics of a step, with `step` and `time` (seconds since 1970).

    NaN and infinity are null.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_failing = False

    def log(self, metrics: Mapping[str, Number], step: int) -> None:
        record = {"step": step, "time": time.time()} | {name: json_number(value) for name, value in metrics.items()}
        try:
            self._append(json.dumps(record, allow_nan=False).encode() + b"\n")
            self._is_failing = False
        except OSError as error:
            self._warn_once(error)

    def rewind(self, step: int) -> None:
        """Drop the lines after `step`, and an unfinished line of a killed process."""
        try:
            with replacing(self.path) as file:
                for its, line in read_steps(self.path):
                    if its <= step:
                        file.write(line if line.endswith(b"\n") else line + b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            self._warn_once(error)

    def _append(self, line: bytes) -> None:
        """Append the whole line or nothing: on a full disk, a part of it may be written."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with appending(self.path) as file:
            start = file.seek(0, os.SEEK_END)
            if file.write(line) != len(line):
                file.truncate(start)
                raise OSError("the disk is full")

    def _warn_once(self, error: OSError) -> None:
        if not self._is_failing:
            logger.warning("metrics are lost: cannot write {}: {}", self.path, error.strerror or error)
        self._is_failing = True


def json_number(value: Number) -> float | int | None:
    """The number if it is finite and a float can hold it, else None."""
    number = value if isinstance(value, int) else float(value)
    return number if is_number(number) else None


def json_value(value: Any, longest: int) -> str | float | int | bool | None:
    """A value of a sample for strict JSON, or for a cell of a table. Texts are cut to `longest` characters."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str | Mapping | list | tuple):
        text = str(value)
        return text if len(text) <= longest else text[: longest - 1] + "…"
    return json_number(value)


def read_steps(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each (step, line) of a metrics file; other lines are skipped. Raises OSError, also if it exceeds `LARGEST`."""
    with os.fdopen(open_regular(path), "rb") as file:
        if os.fstat(file.fileno()).st_size > LARGEST:
            raise OSError(errno.EFBIG, f"is longer than {LARGEST} bytes", str(path))
        for line in lines_of(file, LONGEST_LINE):
            try:
                step = step_of(json.loads(line))
            except (ValueError, RecursionError):
                continue
            if step is not None:
                yield step, line
