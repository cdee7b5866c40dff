"""Linux's process tree: parents, children, signals, and the subreaper that inherits orphans."""

import contextlib
import ctypes
import fcntl
import os
import signal
import struct
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_PIDFD_INFO = struct.Struct("Q 52x i")  # the mask, unused fields, the wait status
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_GET_INFO = 3 << 30 | _PIDFD_INFO.size << 16 | 0xFF << 8 | 11  # _IOWR(0xFF, 11, struct pidfd_info)
_LOOKS = 5  # at the children of a process whose threads end meanwhile
SWEEP_SECONDS = 5.0  # a process in uninterruptible sleep survives SIGKILL; do not wait for ever


_libc = ctypes.CDLL(None, use_errno=True)
_spared: dict[int, int | None] = {}  # pid and start time


def become_subreaper() -> None:
    """From now on, orphaned descendants become children of this process. Raises OSError."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def end_with(parent: int) -> None:
    """For a child between fork and exec: when the parent dies, this process gets SIGTERM, also after the exec."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # the parent has died already
        os._exit(1)


def children(pid: int) -> list[int]:
    """The direct children of a process; empty when it is gone."""
    found: list[int] = []
    for _ in range(_LOOKS):
        found, has_changed = [], False
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
        except OSError:  # the process has ended
            return []
        for task in tasks:
            try:
                found += [int(child) for child in (task / "children").read_text().split()]
            except OSError:  # this thread has just ended, and another one has its children
                has_changed = True
        if not has_changed:
            break
    return found


def descendants(pid: int) -> Iterator[int]:
    """Everything below a process, parents before children."""
    for child in children(pid):
        yield child
        yield from descendants(child)


def start_time(pid: int) -> int | None:
    """In clock ticks since boot. With the pid it identifies a process for good. None when it is gone."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def program_name(pid: int) -> str:
    """The name of the program's file, or, for another user's process, its short name. Empty when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/exe").readlink().name
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text()
    return ""


def owner(pid: int) -> int | None:
    """The user that a process runs as; None when it is gone."""
    found = _status(pid, "Uid")
    return int(found[1]) if found else None


def is_pending(pid: int, number: int) -> bool:
    """Whether a signal waits for the process: it blocks the signal, or has not run since."""
    return _is_among(pid, "ShdPnd", number)


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal. Without one, the signal would end it."""
    return _is_among(pid, "SigCgt", number)


def _is_among(pid: int, signals: str, number: int) -> bool:
    """Whether a signal is in one of the sets of signals that the kernel shows of a process."""
    found = _status(pid, signals)
    return bool(found) and bool(int(found[0], 16) >> (number - 1) & 1)


def _status(pid: int, name: str) -> list[str]:
    """The words of a line of /proc/PID/status. Empty when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return []
    return next((line.split()[1:] for line in text.splitlines() if line.startswith(f"{name}:")), [])


def zombie_exit_code(pid: int) -> int | None:
    """The exit code of a zombie: negative for a signal. None if the process is gone."""
    fields = _stat(pid)
    if not fields or fields[0] not in ("Z", "X"):
        return None
    return os.waitstatus_to_exitcode(int(fields[49]))


def reaped_exit_code(descriptor: int) -> int | None:
    """The exit code of a process that its parent has reaped, by its pidfd. None before Linux 6.15."""
    info = bytearray(_PIDFD_INFO.size)
    _PIDFD_INFO.pack_into(info, 0, _PIDFD_INFO_EXIT, 0)
    try:
        fcntl.ioctl(descriptor, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    found, status = _PIDFD_INFO.unpack(info)
    return os.waitstatus_to_exitcode(status) if found & _PIDFD_INFO_EXIT else None


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from the third field (the state). The second, the name, may contain spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()
    except OSError:
        return []


@dataclass(frozen=True)
class TerminalUse:
    """How a process stands to its controlling terminal."""

    has_terminal: bool
    is_in_foreground: bool  # its process group is the one that reads the keys
    is_stopped: bool

    @property
    def is_in_background(self) -> bool:
        """Whether the terminal belongs to somebody else now. False without job control."""
        return self.is_stopped or (self.has_terminal and not self.is_in_foreground)


def terminal_of(pid: int) -> TerminalUse:
    fields = _stat(pid)
    if not fields:
        return TerminalUse(False, False, False)
    state, _, group, _, terminal, foreground = fields[:6]
    return TerminalUse(terminal != "0", terminal != "0" and group == foreground, state in ("T", "t"))


def session(pid: int) -> int | None:
    """The session of a process: the pid of the process that opened it. None when it is gone."""
    fields = _stat(pid)
    return int(fields[3]) if fields else None


def parent(pid: int) -> int | None:
    """The pid of its present parent. None when it is gone."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def all_pids() -> list[int]:
    """Every process visible from here."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def variables(pid: int) -> dict[str, str]:
    """Another process's environment, as it was at its exec; empty when it is gone or not ours."""
    try:
        block = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (os.fsdecode(entry).partition("=") for entry in block.split(b"\0"))
    return {name: value for name, _, value in reversed(list(pairs))}  # if a name occurs twice, the first counts


def variable(pid: int, name: str) -> str | None:
    """A variable of another process's environment; None when it is not there or not ours."""
    return variables(pid).get(name)


def kill_quietly(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def signal_group(pid: int, number: int) -> None:
    """Signal the process group that `pid` leads."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


@contextlib.contextmanager
def spared(pid: int) -> Iterator[None]:
    """In this block, nothing below kills this child: it is no process of the run, and has somebody who ends it."""
    _spared[pid] = start_time(pid)
    try:
        yield
    finally:
        del _spared[pid]


def _own_children() -> list[int]:
    """The children of this process, without those that are spared."""
    spared = dict(_spared)  # another thread may change it
    return [pid for pid in children(os.getpid()) if pid not in spared or start_time(pid) != spared[pid]]


def sweep(seconds: float = SWEEP_SECONDS) -> dict[int, int]:
    """Kill and reap every descendant of this subreaper, except those spared. Returns wait statuses by pid.

    Each round kills direct children only: their pids cannot be reused before we reap them. Their own children then
    become ours, and the next round kills those.
    """
    reaped: dict[int, int] = {}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = _own_children()
        for child in found:
            kill_quietly(child, signal.SIGKILL)
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid:
            reaped[pid] = status
        elif _spared and not found:
            break
        else:
            signal.sigtimedwait({signal.SIGCHLD}, 0.01)
    return reaped


def kill_orphans_of(component: str, living: Collection[int]) -> None:
    """Kill the orphans of a component that has ended: they are useless without it, and may hold a GPU.

    `living` are the pids of the running components.
    """
    for pid in _own_children():
        if pid not in living and variable(pid, "LAUNCH_COMPONENT") == component:
            kill_quietly(pid, signal.SIGKILL)


def end_orphans(living: Mapping[int, str]) -> None:
    """Kill and reap all orphans, and theirs in turn. `living` (pid -> name) are the running components, which stay."""
    deadline = time.monotonic() + SWEEP_SECONDS
    while time.monotonic() < deadline:
        orphans = [pid for pid in _own_children() if pid not in living]
        left = [pid for pid in orphans if variable(pid, "LAUNCH_COMPONENT") not in living.values()]
        if not left:
            return
        for pid in left:
            kill_quietly(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        signal.sigtimedwait({signal.SIGCHLD}, 0.002)
