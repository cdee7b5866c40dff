"""The limits of this user's processes: what a run needs of them, and what an error means that comes of them."""

import errno
import os
import resource
from pathlib import Path

from launcher.errors import UserError

FILES, FILES_OF_EACH = 32, 4  # descriptors that a supervisor needs, in all and for each process that it starts
TASKS, TASKS_OF_EACH = 9, 2  # processes and threads
COUNTED_BELOW = 4096  # a limit above this is not worth counting all processes for


def check_limits(processes: int) -> None:
    """Raises UserError when a run that starts so many processes could not have its files or processes."""
    files = FILES + FILES_OF_EACH * processes
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < files:
        where = "" if resource.RLIM_INFINITY != hard < files else f"type: ulimit -n {max(files, min(hard, 1024))}"
        raise UserError(
            f"at most {soft} open files in a process, and this run needs {files}",
            where or f"the hard limit is {hard}: have it raised (limits.conf, LimitNOFILE=, docker --ulimit)",
        )
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    tasks = TASKS + TASKS_OF_EACH * processes
    if os.geteuid() and resource.RLIM_INFINITY != soft < COUNTED_BELOW and (taken := _tasks()) + tasks > soft:
        raise UserError(
            f"at most {soft} processes and threads for this user, of which {taken} are taken; this run needs {tasks}",
            "end others, or have the limit raised: ulimit -u",
        )


def shortage(error: BaseException) -> UserError | None:
    """The error, if it comes of a limit."""
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
    """Processes and threads of this user."""
    mine, count = os.geteuid(), 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == mine:
                count += len(list((process / "task").iterdir()))
        except OSError:
            continue  # it has just ended
    return count
