"""Proves that a process belongs to a run before it is signalled. run.json alone proves nothing: anybody can write one.

The proof comes from the kernel. Every process that launch starts, guard and watcher too, has the run's directory in its
environment at exec. The holder of the run's lock is its supervisor.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from launcher.processes.identity import ProcessId, is_alive
from launcher.processes.process_tree import parent, start_time, variable, variables
from launcher.rundir import RunDir

STARTED_BY = "LAUNCH_SUPERVISOR"  # PID.START_TIME of the supervisor, in the environment of its processes


GUARDS = "LAUNCH_GUARDS"  # the run's directory, in the environment of guard and watcher


def proves_to_be_of(run: RunDir, process: ProcessId) -> bool:
    """Whether exactly this process is proven to be the run's. For another user's process only root can tell."""
    pid = process.pid
    return (names(run, variables(pid)) or holds_lock(run, pid) or _is_below_guards(run, pid)) and is_alive(process)


def open_proven(run: RunDir, process: ProcessId) -> int | None:
    """A pidfd, safe from reuse of the pid. None if the process is gone or is not the run's."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return None
    if proves_to_be_of(run, process):
        return descriptor
    os.close(descriptor)
    return None


def names(run: RunDir, environment: dict[str, str]) -> bool:
    """Whether the environment of a process names the run's directory."""
    named = [value for name in (GUARDS, "LAUNCH_RUN_DIR") if (value := environment.get(name))]
    return bool(named) and os.path.realpath(run.root) in map(os.path.realpath, named)


def _is_below_guards(run: RunDir, pid: int) -> bool:
    """Whether its parent is guard or watcher, whose children all belong to the run."""
    above = parent(pid)
    root = variable(above, GUARDS) if above else None
    return root is not None and os.path.realpath(root) == os.path.realpath(run.root)


def holds_lock(run: RunDir, pid: int) -> bool:
    """Whether the process holds the run's lock, by a descriptor that it or its parent has locked."""
    try:
        lock = run.lock.lstat()
        if not stat.S_ISREG(lock.st_mode) or lock.st_nlink != 1:  # a hard link to a file that others lock
            return False
    except OSError:
        return False
    return any(_is_locked(pid, name) for name, status in _open_files(pid) if os.path.samestat(status, lock))


def writes_below(run: RunDir, pid: int) -> bool:
    """Whether the process has a file of the run open for writing, such as its stdout."""
    root = os.path.realpath(run.root) + "/"
    files = (name for name, status in _open_files(pid) if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1)
    return any(_path(pid, name).startswith(root) and _is_writable(pid, name) for name in files)


def _open_files(pid: int) -> Iterator[tuple[str, os.stat_result]]:
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 (names alone)
    except OSError:  # it has ended, or we may not look
        return
    for name in descriptors:
        with suppress(OSError):  # it has just been closed
            yield name, os.stat(f"/proc/{pid}/fd/{name}")  # noqa: PTH116


def _path(pid: int, descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}")  # noqa: PTH115 (may be no path, such as "pipe:[1234]")
    except OSError:
        return ""


def _info(pid: int, descriptor: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text(errors="replace").splitlines()
    except OSError:
        return []


def _is_locked(pid: int, descriptor: str) -> bool:
    return any(line.startswith("lock:") and "FLOCK" in line for line in _info(pid, descriptor))


def _is_writable(pid: int, descriptor: str) -> bool:
    flags = next((line.split()[1] for line in _info(pid, descriptor) if line.startswith("flags:")), "0")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def mark(supervisor: int) -> dict[str, str]:
    """The variable that marks a supervisor's processes. A copy of the run's other variables proves nothing."""
    return {STARTED_BY: f"{supervisor}.{start_time(supervisor)}"}
