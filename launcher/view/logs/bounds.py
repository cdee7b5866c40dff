"""Where a log may be. Another user may have put a link into a run's directory that leads to a private file of ours."""

import os
from pathlib import Path

from launcher.borders.files import Bounds
from launcher.rundir import RunDir
from launcher.runs.state import ProcessState


def own_bounds(run: RunDir) -> Bounds:
    """The run's `logs` directory, which must not be a link."""
    return Bounds(Path(os.path.realpath(run.root)) / run.all_logs.name)


def rank_bounds(run: RunDir, process: ProcessState) -> Bounds:
    """torchrun's log directory, if the run has set another one. Its files must belong to the run's owner."""
    if process.log_dir is None:
        return own_bounds(run)
    try:
        owner = run.root.stat().st_uid
    except OSError:
        return own_bounds(run)
    return Bounds(Path(os.path.realpath(process.log_dir)), owner)


def trouble_with(run: RunDir, process: ProcessState, file: Path) -> str | None:
    """Why a file that run.json names is not a log of the run; None if it is one, or does not exist yet."""
    own = own_bounds(run)
    is_torchruns = process.log_dir is not None and file.name in ("stdout.log", "stderr.log")
    bounds = rank_bounds(run, process) if is_torchruns and not own.has(file) else own
    try:
        bounds.check(file)
    except OSError as error:
        return error.strerror
    return None
