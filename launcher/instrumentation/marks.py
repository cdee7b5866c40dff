"""Marks how far the start of this process is, for `launch status RUN --timeline`.

    from launcher import mark, setup_logger

    setup_logger()                       # marks the end of the imports
    model = load(...)
    mark("model")                        # the model is loaded

A mark ends a phase of the start, which began at the mark before it. Only the first mark of a name counts, so it may
stand in a loop. Times are wall clock: marks come from several processes, and stand beside logs and metrics.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from launcher.borders.files import appending
from launcher.rundir import RunDir

SPAWN = "spawn"  # what the supervisor marks: the process has been started
TORCHRUN = "torchrun"  # a rank has been started
OUTPUT = "first output"
READY = "ready"
IMPORTS = "imports"  # what `setup_logger` marks

_writer: "tuple[Path, str, int | None] | None" = None  # file, component and rank of this process
_done: set[str] = set()


def report_marks(run: RunDir | None, component: str | None, rank: int | None) -> None:
    """From now on, `mark` marks for this component and global rank."""
    global _writer
    _writer = (run.marks, component or "trainer", rank) if run else None
    _done.clear()


def mark(phase: str, waits_for: str | None = None) -> None:
    """This phase of the start is over. `waits_for` is the component that it waited for, if it waited for one.

    Outside a run this does nothing, and neither does the second mark of a name.
    """
    if _writer is None or phase in _done:
        return
    _done.add(phase)
    path, component, rank = _writer
    write_mark(path, component, phase, rank, waits_for)


def write_mark(
    path: Path,
    component: str,
    phase: str,
    rank: int | None = None,
    waits_for: str | None = None,
    at: float | None = None,
) -> None:
    """Append a mark, in one write, so that those of other processes stay whole. `at` is in seconds since the epoch."""
    fields = {"component": component, "rank": rank, "phase": phase, "waits_for": waits_for}
    record: dict[str, object] = {"time": time.time() if at is None else at, "pid": os.getpid()}
    record |= {name: value for name, value in fields.items() if value is not None}
    with suppress(OSError):  # a full disk is no reason to fail
        path.parent.mkdir(parents=True, exist_ok=True)
        with appending(path) as file:
            file.write(json.dumps(record).encode() + b"\n")
