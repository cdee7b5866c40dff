"""Removes runs that have ended: `launch clean`."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from launcher.borders.screen import quoted
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.runs.directory import remove_run, take_lock
from launcher.runs.liveness import GOING_ON, living_processes, true_state
from launcher.runs.state import RunState, other_nodes, read_state
from launcher.runs.survivors import survivors, survivors_text
from launcher.runs.trust import check_trusted

FAILED = ("failed", "died")


def why_kept(run: RunDir, state: RunState) -> str | None:
    """Why this run must not be removed, whatever was asked; None if it may go."""
    for each, its in ((run, state), *other_nodes(run, state)):
        if (now := true_state(each, its)) in (*GOING_ON, "silent"):
            return now if its is state else f"node {each.node} is {now}"
    if living := living_processes(state):
        return f"{next(iter(living))} is alive"
    try:
        check_trusted(run, state.name, "clean", trust=False)
    except UserError as error:
        return error.message
    return None


def foreign_checkpoints(run: RunDir, state: RunState) -> list[Path]:
    """Checkpoints that a trainer of the user's has written in the run's directory; they are never removed."""
    is_there = not state.own_checkpoints and run.checkpoints.is_dir() and any(run.checkpoints.iterdir())
    return [run.checkpoints] if is_there else []


def clean(run: RunDir) -> None:
    """Remove what the run has made. Raises UserError if it is alive after all, or if a file cannot be removed."""
    try:
        lock = take_lock(run)
    except OSError as error:
        raise UserError(f"{run.lock}: cannot be locked: {error.strerror}") from None
    try:
        state = read_state(run)
        if state is None:
            raise UserError(f"{run.state}: cannot be read")
        if reason := why_kept(run, state):
            raise UserError(f"{state.name} is kept: {reason}")
        if found := survivors(run):
            raise UserError(
                f"{state.name} is kept: {survivors_text(found)} outlived it",
                f"end them with: launch stop {quoted(str(run.root))}",
            )
        remove_run(run, foreign_checkpoints(run, state))
    except OSError as error:
        raise UserError(f"{error.filename or run.root}: cannot be removed: {error.strerror}") from None
    finally:
        os.close(lock)
    latest = run.root.parent / "latest"
    with suppress(OSError):
        if latest.is_symlink() and latest.readlink() == Path(run.root.name) and not run.root.exists():
            latest.unlink()


def size_of(directory: Path, without: list[Path]) -> int:
    """Bytes on the disk; links are not followed, and what cannot be read counts nothing."""
    total = 0
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if Path(folder, name) not in without]
        for name in files:
            with suppress(OSError):
                status = os.lstat(os.path.join(folder, name))  # noqa: PTH118 (many files)
                total += status.st_blocks * 512 if stat.S_ISREG(status.st_mode) else 0
    return total
