"""What the machine knows about a failure and the program could not log: memory, disks, GPUs."""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.failure.failure import Culprit
from launcher.failure.oom import KernelLog, MemoryGroup, machine_oom_kills
from launcher.machine.gpus import XidErrors
from launcher.numbers import size
from launcher.plan.spec import Plan
from launcher.supervisor.rules.actions import Action
from launcher.supervisor.rules.events import Event, Exited, Heartbeat, NewAttempt, RankExited, RankStarted, Started

FULL = 64 * 1024  # bytes; a disk with less free space counts as full
SHARED_MEMORY = Path("/dev/shm")
_OOM_KILLED = re.compile(r"Killed process (\d+) ")


@dataclass
class _Met:
    """A process of the run, as last seen."""

    pid: int
    group: MemoryGroup
    oom_kills: int | None  # of its memory group, when it started
    memory: int = 0  # bytes, resident
    seen: float = 0.0  # monotonic


class Witness:
    """A listener that records what cannot be read any more once a process has ended."""

    def __init__(self, plan: Plan) -> None:
        self.log = KernelLog()
        self.xids = XidErrors()
        self._begin(plan)

    def _begin(self, plan: Plan) -> None:
        self.plan = plan
        self._met: dict[tuple[str, int | None], _Met] = {}
        self._machine_kills = machine_oom_kills()
        self._full: list[str] = []  # disks, when the first process failed
        self._xids: list[str] = []  # what the GPUs have reported: the driver says it only once
        self._ended: float | None = None  # when the first process failed, monotonic

    def __call__(self, event: Event | Action) -> None:
        match event:
            case Started(name, pid):
                self._meet((name, None), pid)
            case RankStarted(name, rank, pid):
                self._meet((name, rank), pid)
            case Heartbeat():
                for met in self._met.values():
                    _look(met)
            case RankExited() | Exited() if event.exit_code and not event.ended_by and self._ended is None:
                self._ended = time.monotonic()
                self._full = self._full_disks()
            case NewAttempt(plan):
                self._begin(plan)

    def facts(self, culprit: Culprit) -> list[str]:
        """What is known about the culprit's end, one sentence per line."""
        is_killed = culprit.exit_code == -signal.SIGKILL
        met = self._met.get((culprit.component, culprit.rank)) or self._met.get((culprit.component, None))
        self._xids += self.xids.new()
        return [
            *(self._memory(met, is_killed) if met else ()),
            *(self._full or self._full_disks()),
            *self._xids,
            *(f"the kernel's log: {line}" for line in self.log.lines("NVRM: Xid")),
        ]

    def _meet(self, name: tuple[str, int | None], pid: int) -> None:
        group = MemoryGroup.of(pid)
        self._met[name] = _Met(pid, group, group.oom_kills())  # its memory is read later: it has only just started

    def _memory(self, met: _Met, is_killed: bool) -> Iterator[str]:
        sign = self._sign_of_oom(met, is_killed)
        if sign:
            yield f"probably out of memory: {sign}"
        elif is_killed:
            yield "killed by SIGKILL, which launch did not send; Linux does not record who did"
            yield self._no_sign(met)
        if (sign or is_killed) and met.memory:
            before = max(0.0, (self._ended or time.monotonic()) - met.seen)
            yield f"resident memory {before:.0f}s before its end: {size(met.memory)} of {met.group.allowed()}"
        if sign:
            yield from (f"the kernel's log: {line}" for line in self._kernels_words(met.pid))

    def _sign_of_oom(self, met: _Met, is_killed: bool) -> str:
        """Evidence that memory ran out, from the kernel's count or its log; empty when there is none."""
        before, after = met.oom_kills, met.group.oom_kills()
        if before is not None and after is not None:
            return f"the kernel's oom_kill count of its cgroup went from {before} to {after}" if after > before else ""
        if self._kernels_words(met.pid, of_others=False):
            return "the kernel's log names it"
        before, after = self._machine_kills, machine_oom_kills()
        if is_killed and before is not None and after is not None and after > before:
            return f"the kernel's oom_kill count of this machine went from {before} to {after}"
        return ""

    def _no_sign(self, met: _Met) -> str:
        if met.group.oom_kills() is None and machine_oom_kills() is None:
            return "whether memory ran out is not known: the kernel's oom_kill counts cannot be read here"
        return "no sign that memory ran out: the kernel's oom_kill count has not changed"

    def _kernels_words(self, pid: int, of_others: bool = True) -> list[str]:
        """The kernel's log lines about this process, if it killed it; else the last one about another process."""
        lines = [line for line in self.log.lines("Killed process") if _OOM_KILLED.search(line)]
        ours = [line for line in lines if f"Killed process {pid} " in line]
        return ours or (lines[-1:] if of_others else [])

    def _full_disks(self) -> list[str]:
        found = {place: full_disk(place) for place in (self.plan.run.root, SHARED_MEMORY)}
        return [line for line in found.values() if line]


def _look(met: _Met) -> None:
    with suppress(OSError):
        pages = int(Path(f"/proc/{met.pid}/statm").read_text().split()[1])
        if pages:  # a process that has ended has none
            met.memory, met.seen = pages * os.sysconf("SC_PAGE_SIZE"), time.monotonic()


def full_disk(directory: Path) -> str:
    """A sentence if the disk is full or has no inodes left, else empty."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return ""
    if disk.f_bavail * disk.f_frsize < FULL:
        total = size(disk.f_blocks * disk.f_frsize)
        more = "; a container gets more by --shm-size" if directory == SHARED_MEMORY else ""
        return f"{directory} is full ({total}){more}" if more else f"the disk of {directory} is full"
    if disk.f_files and not disk.f_favail:
        return f"the disk of {directory} has no inodes left: it holds too many files"
    return ""
