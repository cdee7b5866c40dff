"""Checks ulimits (open files, processes) before a run, and explains errors that they cause."""

import errno
import os
import resource
from pathlib import Path

from launcher.errors import UserError

FILES, FILES_OF_EACH = 32, 4  # the supervisor's descriptors: fixed, and per process that it starts
TASKS, TASKS_OF_EACH = 9, 2  # processes and threads, likewise
COUNTED_BELOW = 4096  # a higher limit is not checked: counting all processes takes time


def check_limits(processes: int) -> None:
    """Raises UserError if the limits are too low for a run with this number of processes."""
    files = FILES + FILES_OF_EACH * processes
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < files:
        where = "" if resource.RLIM_INFINITY != hard < files else f"type: ulimit -n {max(files, min(hard, 1024))}"
        raise UserError(
            f"at most {soft} open files in a process, and this run needs {files}",
            where or f"the hard limit is {hard}: ask for a higher one (limits.conf, LimitNOFILE=, docker --ulimit)",
        )
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    tasks = TASKS + TASKS_OF_EACH * processes
    if os.geteuid() and resource.RLIM_INFINITY != soft < COUNTED_BELOW and (taken := _tasks()) + tasks > soft:
        raise UserError(
            f"at most {soft} processes and threads for this user, of which {taken} are taken; this run needs {tasks}",
            "end others, or have the limit raised: ulimit -u",
        )


def shortage(error: BaseException) -> UserError | None:
    """The error in words, if a limit caused it."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EMFILE, errno.ENFILE):
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return UserError(f"too many open files: at most {soft} in a process", "type: ulimit -n 1024")
    if isinstance(error, BlockingIOError) or "start new thread" in str(error):
        soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        return UserError(
            f"no further process or thread can be started: at most {soft} for this user (or the cgroup's pids.max)",
            "end others, or have the limit raised: ulimit -u",
        )
    return None


def _tasks() -> int:
    """The number of this user's processes and threads."""
    mine, count = os.geteuid(), 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == mine:
                count += len(list((process / "task").iterdir()))
        except OSError:
            continue  # it has just ended
    return count
