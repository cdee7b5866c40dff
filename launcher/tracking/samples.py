"""Samples as files of a run, always written: a step's prompts, completions and rewards, one JSON object per line.

Their number is bounded: all of the newest 50 steps, every 10th of the newest 500, every 100th of the newest 5,000, and
so on. So is their size.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loguru import logger

from launcher.borders.files import check_no_link, lines_of, make_directory, open_regular, write_atomically
from launcher.checkpoints import steps_in
from launcher.tracking.sinks import Sink, json_value

NEWEST = 50  # steps of which each one is kept
ROWS = 64  # samples of a step
MAX_TEXT = 20_000  # characters of a text; a longer one is cut
LONGEST_LINE = 1 << 20  # bytes


class SamplesFiles(Sink):
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._is_failing = False

    def log_samples(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        lines = [
            json.dumps({name: json_value(value, MAX_TEXT) for name, value in row.items()}) for row in samples[:ROWS]
        ]
        try:
            for directory in (self.directory.parent, self.directory):
                make_directory(directory)
            write_atomically(samples_file(self.directory, step), "".join(f"{line}\n" for line in lines))
            for old in steps_in(self.directory):
                if not is_kept(old, step):
                    samples_file(self.directory, old).unlink(missing_ok=True)
            self._is_failing = False
        except OSError as error:
            self._warn_once(error)

    def rewind(self, step: int) -> None:
        """Drop the samples after `step`."""
        try:
            for later in steps_of(self.directory):
                if later > step:
                    samples_file(self.directory, later).unlink(missing_ok=True)
        except OSError as error:
            self._warn_once(error)

    def _warn_once(self, error: OSError) -> None:
        if not self._is_failing:
            logger.warning("samples are lost: cannot write {}: {}", self.directory, error.strerror or error)
        self._is_failing = True


def samples_file(directory: Path, step: int) -> Path:
    return directory / f"step_{step}.jsonl"


def steps_of(directory: Path) -> list[int]:
    """The steps whose samples are in a component's directory. Raises OSError if that, or the one above, is a link."""
    for each in (directory.parent, directory):
        check_no_link(each)
    return steps_in(directory)


def is_kept(step: int, newest: int) -> bool:
    """Whether a step's samples are still kept when those of `newest` are written."""
    age = max(newest - step, 0) // NEWEST
    return step % 10 ** len(str(age)) == 0 if age else True


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The samples in a file; lines that are none are skipped. Raises OSError."""
    rows = []
    with os.fdopen(open_regular(path), "rb") as file:
        for line in lines_of(file, LONGEST_LINE):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                rows.append(row)
            if len(rows) == ROWS:
                break
    return rows
