"""Files between processes: there as a whole or not at all, whenever a process is killed. Nothing here needs torch."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.checkpoints import newest_checkpoint
from launcher.rundir import RunDir


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A path to write a file or a directory to; it appears as `path` when the block ends without an error."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield draft
        if path.is_dir():
            remove(path)  # nothing replaces a directory in one go
        draft.replace(path)
    finally:
        _delete(draft)


def remove(path: Path) -> None:
    """Remove a file or a directory, if it is there; nobody sees a directory with a part of its files."""
    doomed = path.with_name(f".{path.name}.removed")
    _delete(doomed)
    if path.exists():
        path.rename(doomed)
        _delete(doomed)


def clear(directory: Path) -> None:
    """Remove what a directory holds, the drafts of killed processes among it."""
    if directory.exists():
        for path in directory.iterdir():
            _delete(path) if path.name.startswith(".") else remove(path)


def clear_drafts(directory: Path) -> None:
    """Remove what killed processes have left half-written."""
    for path in directory.glob(".step_*"):
        _delete(path)


def _delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def resume_step(run: RunDir) -> int:
    """How many updates to go on from: those of the newest checkpoint, or none in a first attempt.

    Trainer and orchestrator both ask, and agree: no checkpoint is written before the orchestrator's first batch.
    """
    return (newest_checkpoint(run) or 0) if run.attempt > 1 or is_restarted() else 0


def is_restarted() -> bool:
    """Whether torchrun has started this process again, within one attempt."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
