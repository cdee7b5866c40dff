"""Where a component's W&B run is to be seen: written by the component, read by whoever shows the run."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from launcher.files import read_bytes, write_atomically
from launcher.rundir import RunDir


@dataclass(frozen=True)
class WandbLink:
    component: str
    name: str
    id: str
    url: str | None  # None: the server has not seen the run
    directory: str  # W&B's own, of this attempt
    unsynced: tuple[str, ...]  # W&B's directories, oldest first, with something that may not have been uploaded

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What a component has written, without what has been synced since; None if there is nothing to read."""
        try:
            values = json.loads(read_bytes(path))
            return cls(**values | {"unsynced": tuple(each for each in values["unsynced"] if not _is_synced(each))})
        except (OSError, ValueError, KeyError, TypeError):
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
    return shlex.join(["wandb", "sync", *(["--include-online"] if is_online else []), *directories])


def read_wandb_links(run: RunDir) -> list[WandbLink]:
    """The links of a run's components, by the component's name."""
    links = [WandbLink.read(path) for path in sorted(run.wandb.glob("*.json"))]
    return [link for link in links if link is not None]


def _is_synced(directory: str) -> bool:
    """Whether `wandb sync` has been here, or the directory is gone."""
    return not Path(directory).is_dir() or any(Path(directory).glob("*.wandb.synced"))
