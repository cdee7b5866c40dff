"""Where a log may lie: what stands in a run's directory may be a stranger's, and lead to any file of who looks."""

import os
from pathlib import Path

from launcher.borders.files import Bounds
from launcher.rundir import RunDir
from launcher.runs.state import ProcessState


def own_bounds(run: RunDir) -> Bounds:
    """The run's `logs`, which is no link itself."""
    return Bounds(Path(os.path.realpath(run.root)) / run.all_logs.name)


def rank_bounds(run: RunDir, process: ProcessState) -> Bounds:
    """torchrun's directory elsewhere, if the run has named one; its files must be those of the run's owner."""
    if process.log_dir is None:
        return own_bounds(run)
    try:
        owner = run.root.stat().st_uid
    except OSError:
        return own_bounds(run)
    return Bounds(Path(os.path.realpath(process.log_dir)), owner)


def trouble_with(run: RunDir, process: ProcessState, file: Path) -> str | None:
    """Why a file that run.json names is no log of the run's; None if it is one, or would be."""
    own = own_bounds(run)
    is_torchruns = process.log_dir is not None and file.name in ("stdout.log", "stderr.log")
    bounds = rank_bounds(run, process) if is_torchruns and not own.has(file) else own
    try:
        bounds.check(file)
    except OSError as error:
        return error.strerror
    return None
