"""Tells `launch status`, the console and the watchdog what this component waits for.

    from launcher import setup_logger, waiting_for

    setup_logger()
    with waiting_for("batch 13"):
        batch = queue.get()

A wait of less than a second costs only a timer. A longer one is a small file in the run's directory, written
atomically and removed when the wait is over.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from launcher.borders.files import write_atomically
from launcher.rundir import RunDir

SHORT = 1.0  # seconds; a shorter wait is not reported

_file: Path | None = None  # of this process's component


def report_waits(run: RunDir | None, component: str | None, rank: int | None) -> None:
    """From now on, `waiting_for` reports for this component. Under torchrun, only rank 0 reports."""
    global _file
    _file = run.wait(component or "trainer") if run and rank in (None, 0) else None


@contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Reports that the block waits for `what`, such as "weights 12" or "the dataset". Outside a run it does nothing."""
    if _file is None:
        yield
        return
    report = _Report(_file, what)
    try:
        yield
    finally:
        report.end()


class _Report:
    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what, self._since = path, what, time.time()
        self._lock, self._is_over, self._is_written = threading.Lock(), False, False
        self._timer = threading.Timer(SHORT, self._write)
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._is_over = True
            if self._is_written:
                with suppress(OSError):
                    self._path.unlink()

    def _write(self) -> None:
        from launcher.processes.identity import boot_id, identify

        about = {"what": self._what, "since": self._since, "boot_id": boot_id()}
        with self._lock, suppress(OSError):  # a full disk is not a reason to stop waiting
            if not self._is_over:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._path, json.dumps(about | identify(os.getpid()).model_dump()))
                self._is_written = True
