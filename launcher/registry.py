"""Finding runs: below ./outputs, and wherever else one has been started from this account."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from launcher.errors import UserError
from launcher.rundir import RunDir


def register(root: Path) -> None:
    """Remember a run's directory; a convenience that never fails a run."""
    directory = _directory()
    link = directory / hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(root)
    except OSError:
        pass


def known_runs() -> list[Path]:
    """The directories of all runs, the newest first: those whose run.json changed last."""
    found = {path.parent.resolve() for path in Path("outputs").glob("*/run.json")}
    found |= {path.parents[2].resolve() for path in Path("outputs").glob("*/nodes/node_*/run.json")}
    directory = _directory()
    for link in directory.iterdir() if directory.is_dir() else ():
        with suppress(OSError):  # of a file system that does not answer
            root = link.resolve()
            if recorded(root):
                found.add(root)
            elif link.is_symlink() and root.parent.exists():  # otherwise it may only not be mounted
                link.unlink()
    return sorted(found, key=_started, reverse=True)


def recorded(root: Path) -> RunDir | None:
    """The run in this directory as node 0 sees it, or else the node that has the directory to itself; None if there
    is no run."""
    run = RunDir(root)
    if run.state.exists():
        return run
    others = (int(path.name.removeprefix("node_")) for path in sorted(run.all_nodes.glob("node_*")))
    return next((run.on(node) for node in others if run.on(node).state.exists()), None)


def find_run(name_or_path: str | None) -> Path:
    """The directory of the run that is meant; without a name the newest one. Raises UserError."""
    if name_or_path and recorded(Path(name_or_path)):
        return Path(name_or_path).resolve()
    runs = known_runs()
    if not runs:
        raise UserError("there is no run yet", "start one with: launch rl")
    if name_or_path is None:
        return runs[0]
    named = next((root for root in runs if root.name == name_or_path or _name(root) == name_or_path), None)
    if named is None:
        raise UserError(f"there is no run {name_or_path!r}", f"the newest: {', '.join(root.name for root in runs[:5])}")
    return named


def _name(root: Path) -> str:
    """The run's own name: its directory may be called otherwise."""
    try:
        return str(json.loads((recorded(root) or RunDir(root)).state.read_bytes())["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return root.name


def _started(root: Path) -> float:
    try:
        return (recorded(root) or RunDir(root)).state.stat().st_mtime
    except OSError:
        return 0.0


def _directory() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "launch" / "runs"
