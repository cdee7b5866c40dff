"""Files between processes: there as a whole or not at all, whenever a process is killed. Nothing here needs torch."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.rundir import RunDir


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A path to write a file or a directory to; what it holds appears at `path` when the block ends without an error."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield draft
        if path.is_dir():
            remove(path)  # a directory cannot be replaced in one go
        draft.replace(path)
    finally:
        remove(draft)


def remove(path: Path) -> None:
    """Remove a file or a directory, if it is there; a directory goes in one go, then file by file."""
    if path.is_dir():
        doomed = path.with_name(f".{path.name.lstrip('.')}.removed")
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)


def clear(directory: Path) -> None:
    """Remove what a directory holds, drafts of killed processes among it."""
    for path in directory.glob("*"):
        remove(path)
    for path in directory.glob(".*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def steps_in(directory: Path) -> list[int]:
    """The N of all complete `step_N…` in a directory, ascending."""
    names = (path.name.removesuffix(".safetensors") for path in directory.glob("step_*"))
    return sorted(int(name.removeprefix("step_")) for name in names if name.removeprefix("step_").isdigit())


def resume_step(run: RunDir) -> int:
    """How many updates this attempt starts from: those of the newest checkpoint, or none in a first attempt.

    Trainer and orchestrator both ask, and agree: no checkpoint is written before the orchestrator's first batch.
    """
    return max(steps_in(run.checkpoints), default=0) if run.attempt > 1 else 0
