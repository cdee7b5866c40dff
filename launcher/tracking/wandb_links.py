"""Where a component's W&B run is to be seen: written by the component, read by whoever shows the run."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import FailFast, Field, TypeAdapter

from launcher.borders.files import read_bytes, write_atomically
from launcher.borders.screen import quoted
from launcher.borders.values import Identity, Label, Name, PathText, Url
from launcher.plan.spec import ForeignRun
from launcher.rundir import RunDir

MOST = 1000  # of a run's links, and of W&B's directories
_Directories = Annotated[tuple[PathText, ...], Field(max_length=MOST), FailFast()]


@dataclass(frozen=True)
class WandbLink:
    component: Name | None  # None: a program of the user's has made it as it liked
    name: Label
    id: Identity
    url: Url | None  # None: the server has not seen the run
    directory: PathText  # W&B's own, of this attempt
    unsynced: _Directories  # W&B's directories, oldest first, with something that may not have been uploaded

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What a component has written, without what has been synced since; None if there is nothing to read."""
        try:
            link = TypeAdapter(cls).validate_python(json.loads(read_bytes(path)))
            return replace(link, unsynced=tuple(each for each in link.unsynced if not _is_synced(each)))
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def write(self, path: Path) -> None:
        """Replace the file at once. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(asdict(self)))

    @property
    def sync_command(self) -> str | None:
        """What uploads the rest, to be pasted into a shell; None when everything is on the server."""
        return sync_command(self.unsynced)

    def uploaded(self) -> Self:
        """The link after everything of this attempt has reached the server."""
        return replace(self, unsynced=tuple(each for each in self.unsynced if each != self.directory))


def sync_command(directories: Sequence[str]) -> str | None:
    """The command line that uploads W&B's directories; None if there are none."""
    if not directories:
        return None
    is_online = any(Path(each).name.startswith("run-") for each in directories)  # wandb sync would skip these
    return " ".join(["wandb sync", *(["--include-online"] if is_online else []), *map(quoted, directories)])


def read_wandb_links(run: RunDir, foreign: Sequence[ForeignRun] = ()) -> list[WandbLink]:
    """The links of a run's components, by the component's name, and what foreign programs have logged offline."""
    links = [link for path in sorted(run.wandb.glob("*.json"))[:MOST] if (link := WandbLink.read(path))]
    known = {link.id for link in links}
    told = [each for each in foreign if each.id not in known]
    return links + [link for link in (_offline(each) for each in told) if link.unsynced] + _others(run, links, told)


def _offline(foreign: ForeignRun) -> WandbLink:
    found = [path for path in _offline_runs(Path(foreign.directory)) if path.name.endswith(f"-{foreign.id}")]
    return _offline_link(foreign.component, foreign.name, foreign.id, found)


def _others(run: RunDir, links: Sequence[WandbLink], told: Sequence[ForeignRun]) -> list[WandbLink]:
    """The runs below the run's own directory that a program has made as it liked."""
    claimed = {directory for link in links for directory in (link.directory, *link.unsynced)}
    named = tuple(f"-{each}" for each in (*(link.id for link in links), *(one.id for one in told)))
    ids: dict[str, list[Path]] = {}
    for path in _offline_runs(run.wandb):
        if str(path) not in claimed and not path.name.endswith(named):
            ids.setdefault(path.name.split("-", 3)[-1], []).append(path)
    return [_offline_link(None, name, name, found) for name, found in ids.items()]


def _offline_runs(directory: Path) -> list[Path]:
    """Of `offline-run-20261126_091500-ID`, oldest first, those that have not been uploaded."""
    return [path for path in sorted(directory.glob("offline-run-*-*"))[-MOST:] if not _is_synced(str(path))]


def _offline_link(component: str | None, name: str, id: str, found: Sequence[Path]) -> WandbLink:
    return WandbLink(component, name, id, None, str(found[-1]) if found else "", tuple(map(str, found)))


def _is_synced(directory: str) -> bool:
    """Whether `wandb sync` has been here, or the directory is gone."""
    return not Path(directory).is_dir() or any(Path(directory).glob("*.wandb.synced"))
