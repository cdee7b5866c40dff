"""The kernel's evidence of out-of-memory kills: its counters, cgroup limits and log."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.borders.screen import in_one_line

CGROUPS = Path("/sys/fs/cgroup")
KERNEL_LOG = Path("/dev/kmsg")
LONGEST = 200  # characters of a line of the kernel's log


@dataclass(frozen=True)
class MemoryGroup:
    """The cgroup that limits a process's memory: a directory of cgroup v2 or v1. None if it is not visible."""

    directory: Path | None

    @classmethod
    def of(cls, pid: int, cgroups: Path = CGROUPS) -> "MemoryGroup":
        """The cgroup of a process. In a container it may be the root directory, whatever path /proc shows."""
        with suppress(OSError):
            text = Path(f"/proc/{pid}/cgroup").read_text()
            for _, controllers, path in (line.split(":", 2) for line in text.splitlines()):
                root = cgroups if not controllers else cgroups / "memory"
                is_it = not controllers or "memory" in controllers.split(",")
                for directory in (root / path.lstrip("/"), root) if is_it else ():
                    if (directory / "memory.events").exists() or (directory / "memory.oom_control").exists():
                        return cls(directory)
        return cls(None)

    def oom_kills(self) -> int | None:
        """The number of out-of-memory kills in this cgroup. None if unreadable."""
        counts = [self._number(file, "oom_kill") for file in ("memory.events", "memory.oom_control")]
        return next((count for count in counts if count is not None), None)

    def limit(self) -> int | None:
        """In bytes: the lowest limit of this cgroup and its parents. None without a limit."""
        if self.directory is None:
            return None
        above = (self.directory, *self.directory.parents)
        groups = [MemoryGroup(path) for path in above if (path / "cgroup.procs").exists()]
        files = ("memory.max", "memory.limit_in_bytes")
        limits = [found for group in groups for file in files if (found := group._number(file)) is not None]
        return min(limits, default=None)

    def allowed(self) -> str:
        """ "the 24.1 GB of this machine", "the 2.0 GB that its cgroup may have"."""
        machine, limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), self.limit()
        if limit is not None and limit < machine:
            return f"the {limit / 1e9:.1f} GB that its cgroup may have"
        return f"the {machine / 1e9:.1f} GB of this machine"

    def _number(self, file: str, name: str = "") -> int | None:
        return _number(self.directory / file, name) if self.directory else None


def machine_oom_kills() -> int | None:
    """The number of out-of-memory kills since boot."""
    return _number(Path("/proc/vmstat"), "oom_kill")


def _number(file: Path, name: str) -> int | None:
    """The number on the line of this name, or the number that is the whole file."""
    try:
        found = re.search(rf"^{name}\s*(\d+)$", file.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


class KernelLog:
    """The kernel's log (dmesg) from now on. Empty without permission. Its timestamps are not used."""

    def __init__(self, path: Path = KERNEL_LOG) -> None:
        self._messages: list[str] = []
        self._descriptor: int | None = None
        with suppress(OSError):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            os.lseek(self._descriptor, 0, os.SEEK_END)

    def lines(self, text: str) -> list[str]:
        """The messages since then that contain this text, without control characters."""
        with suppress(OSError):  # no more messages, or some were overwritten unread
            while self._descriptor is not None and (record := os.read(self._descriptor, 8192)):
                message = record.partition(b"\n")[0].partition(b";")[2].decode(errors="replace")
                self._messages.append(in_one_line(message)[:LONGEST])
        return [message for message in self._messages if text in message]
