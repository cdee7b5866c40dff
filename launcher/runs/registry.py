"""Finds runs: below ./outputs, and in every other place where this user has started one.

The registry is a directory of links, `<key of the directory>-<name of the run>`. The link itself has the run's name, so
a run on a hanging file system does not block commands for other runs.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from launcher.borders.files import read_bytes
from launcher.borders.screen import quoted
from launcher.borders.values import NAME
from launcher.home import in_home
from launcher.rundir import RunDir

MOST_NODES = 10_000  # searched in a directory


def register(root: Path, name: str) -> None:
    """Remember a run's directory. An error here never fails a run."""
    directory = _directory()
    if directory is None:
        return
    link = directory / f"{key_of(root)}-{name}"
    with suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        for other in directory.glob(f"{key_of(root)}*"):  # an earlier run in this directory
            if other != link and other.is_symlink():
                other.unlink()
        if not link.is_symlink():
            link.symlink_to(root)


def project_runs() -> list[Path]:
    """The directories of the runs below ./outputs, and of the run that the working directory belongs to."""
    outputs = Path("outputs").resolve()
    found = {path.resolve() for path in _inside(outputs) if recorded(path)}
    found |= set(_there(entry for entry in _registered() if entry.root.is_relative_to(outputs)))
    around = _run_around(Path.cwd())
    return sorted(found | ({around} if around else set()))


def every_run() -> list[Path]:
    """The directories of all known runs."""
    return sorted({*project_runs(), *_there(_registered())})


def runs_called(name: str) -> list[Path]:
    """The directories of the runs with this name. The directory's own name counts as well."""
    return sorted({*_there(entry for entry in _known() if name in entry.names)})


def runs_beginning(with_: str) -> list[Path]:
    """The directories of the runs whose name has this prefix."""
    return sorted({*_there(entry for entry in _known() if any(name.startswith(with_) for name in entry.names))})


def call_name(root: Path, name: str) -> str:
    """What to type for this run: its name if unique, else its directory, quoted for a shell."""
    registered = list(_registered())
    is_known = root.parent == Path.cwd() / "outputs" or any(entry.root == root for entry in registered)
    is_taken = any(name in entry.names and entry.root != root for entry in registered)
    return name if is_known and not is_taken else quoted(str(root))


def recorded(root: Path) -> RunDir | None:
    """The run in this directory: node 0's view, or else that of the lowest node. None if there is no run."""
    run = RunDir(root)
    if os.path.exists(run.state):  # noqa: PTH110 (Path.exists raises without permission)
        return run
    others = (run.on(node) for node in nodes_there(run))
    return next((other for other in others if os.path.exists(other.state)), None)  # noqa: PTH110


def nodes_there(run: RunDir) -> list[int]:
    """The nodes that have files in the directory, whatever number of nodes run.json names."""
    names = [path.name for path in islice(_inside(run.all_nodes), MOST_NODES)]
    return [0, *sorted(int(name.removeprefix("node_")) for name in names if re.fullmatch(r"node_[1-9]\d{0,5}", name))]


def _inside(directory: Path) -> Iterator[Path]:
    """The content of a directory. Empty without permission."""
    with suppress(OSError):
        yield from directory.iterdir()


def _run_around(directory: Path) -> Path | None:
    """The run that has this directory, as its own or as one of its folders."""
    if recorded(directory):
        return directory
    parents = (root for root in directory.parents if recorded(root))
    return next((root for root in parents if directory.relative_to(root).parts[0] in RunDir(root).folders), None)


# --- the links --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    root: Path
    names: frozenset[str]  # of the run and of its directory
    link: Path | None = None  # in the registry

    @classmethod
    def of(cls, root: Path) -> "_Entry":
        return cls(root, frozenset((root.name, _name(root))))


def _known() -> Iterator["_Entry"]:
    yield from map(_Entry.of, project_runs())
    yield from _registered()


def _registered() -> Iterator[_Entry]:
    """The entries of the links. Does not check whether the run still exists."""
    try:
        links = list((_directory() or Path(os.devnull)).iterdir())
    except OSError:
        return
    for link in links:
        with suppress(OSError):  # not a link
            root = Path(os.readlink(link))  # noqa: PTH115 (Path.readlink makes no difference, and raises more)
            _, _, name = link.name.partition("-")
            yield _Entry(root, frozenset((root.name, name or _name(root))), link)


def _there(entries: Iterable[_Entry]) -> Iterator[Path]:
    """The directories that contain a run. Links to others are removed."""
    for entry in entries:
        with suppress(OSError, RuntimeError):  # a hanging file system, a loop of links
            if recorded(entry.root):
                yield entry.root.resolve()
            elif entry.link and entry.root.parent.exists():  # otherwise it may just be unmounted
                entry.link.unlink()


def _name(root: Path) -> str:
    """The run's own name, which may differ from its directory's."""
    try:
        name = json.loads(read_bytes((recorded(root) or RunDir(root)).state))["name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return root.name
    return name if isinstance(name, str) and re.fullmatch(NAME, name) else root.name


def key_of(root: Path) -> str:
    """A short word for a run's directory, for names that cannot contain a path."""
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:16]


def spare_log(name: str, node: int) -> Path | None:
    """The output of a spare in the background, which has no directory of a run yet. None without a home."""
    state = _state()
    return state / "spares" / f"{name}-node_{node}.log" if state else None


def _directory() -> Path | None:
    """None for a user without a home, as in a container: they have to name runs by directory."""
    state = _state()
    return state / "runs" if state else None


def _state() -> Path | None:
    state = in_home(os.environ.get("XDG_STATE_HOME") or "~/.local/state")
    return state / "launch" if state else None
