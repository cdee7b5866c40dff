"""The link to a component's W&B run: the component writes it, and commands that show the run read it."""

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

MOST = 1000  # links of a run, and also W&B directories
_Directories = Annotated[tuple[PathText, ...], Field(max_length=MOST), FailFast()]


@dataclass(frozen=True)
class WandbLink:
    component: Name | None  # None: the user's program started the W&B run by itself
    name: Label
    id: Identity
    url: Url | None  # None: the server has not seen the run
    directory: PathText  # W&B's own, of this attempt
    unsynced: _Directories  # W&B's directories that may not be fully uploaded, oldest first

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """A component's link, without directories that were synced later; None if there is no link."""
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
        """The command to paste into a shell that uploads the rest; None when everything is on the server."""
        return sync_command(self.unsynced)

    def uploaded(self) -> Self:
        """The link for when everything of this attempt has been uploaded."""
        return replace(self, unsynced=tuple(each for each in self.unsynced if each != self.directory))


def sync_command(directories: Sequence[str]) -> str | None:
    """The command line that uploads W&B's directories; None if there are none."""
    if not directories:
        return None
    is_online = any(Path(each).name.startswith("run-") for each in directories)  # wandb sync skips these by default
    return " ".join(["wandb sync", *(["--include-online"] if is_online else []), *map(quoted, directories)])


def read_wandb_links(run: RunDir, foreign: Sequence[ForeignRun] = ()) -> list[WandbLink]:
    """The links of a run's components, by name, and the runs that the user's programs have logged offline."""
    links = [link for path in sorted(run.wandb.glob("*.json"))[:MOST] if (link := WandbLink.read(path))]
    known = {link.id for link in links}
    told = [each for each in foreign if each.id not in known]
    return links + [link for link in (_offline(each) for each in told) if link.unsynced] + _others(run, links, told)


def _offline(foreign: ForeignRun) -> WandbLink:
    found = [path for path in _offline_runs(Path(foreign.directory)) if path.name.endswith(f"-{foreign.id}")]
    return _offline_link(foreign.component, foreign.name, foreign.id, found)


def _others(run: RunDir, links: Sequence[WandbLink], told: Sequence[ForeignRun]) -> list[WandbLink]:
    """The W&B runs in the run's directory that a user's program has started by itself."""
    claimed = {directory for link in links for directory in (link.directory, *link.unsynced)}
    named = tuple(f"-{each}" for each in (*(link.id for link in links), *(one.id for one in told)))
    ids: dict[str, list[Path]] = {}
    for path in _offline_runs(run.wandb):
        if str(path) not in claimed and not path.name.endswith(named):
            ids.setdefault(path.name.split("-", 3)[-1], []).append(path)
    return [_offline_link(None, name, name, found) for name, found in ids.items()]


def _offline_runs(directory: Path) -> list[Path]:
    """The directories such as `offline-run-20261126_091500-ID` that have not been uploaded, oldest first."""
    return [path for path in sorted(directory.glob("offline-run-*-*"))[-MOST:] if not _is_synced(str(path))]


def _offline_link(component: str | None, name: str, id: str, found: Sequence[Path]) -> WandbLink:
    return WandbLink(component, name, id, None, str(found[-1]) if found else "", tuple(map(str, found)))


def _is_synced(directory: str) -> bool:
    """Whether `wandb sync` has uploaded the directory, or the directory is gone."""
    return not Path(directory).is_dir() or any(Path(directory).glob("*.wandb.synced"))
