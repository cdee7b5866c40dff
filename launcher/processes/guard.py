"""The guard: the process that the shell started. It forwards signals to the supervisor and outlives it.

`launcher.processes.guard_fork` runs `python -I -S guard.py SUPERVISOR_PID WATCHER_PID PIPE SIGNAL...`. By then these
signals and SIGCHLD are blocked, and this process is a subreaper. If supervisor and watcher die, the run's processes
become children of the guard, and it kills them. A signal is forwarded as a line in the pipe that names its sender:
kill() would name the guard instead. To stay small, it imports only light parts of the standard library.
"""

import os
import signal
import sys
import time
from contextlib import suppress

SWEEP_SECONDS = 5.0
LONGEST_COMMAND = 1000  # bytes; the line stays below PIPE_BUF, so the write is atomic


def main() -> int:
    supervisor, watcher, pipe, *forwarded = map(int, sys.argv[1:])
    os.set_blocking(pipe, False)
    while True:
        received = signal.sigwaitinfo((*forwarded, signal.SIGCHLD))
        if received.si_signo != signal.SIGCHLD:
            forward(received, supervisor, pipe)
            continue
        status = reap(supervisor, watcher)
        if status is not None:
            kill_the_rest()
            return report(os.waitstatus_to_exitcode(status))


def forward(received: signal.struct_siginfo, supervisor: int, pipe: int) -> None:
    """Pass on the signal and its sender, and wake a stopped supervisor."""
    numbers = (received.si_signo, received.si_code, received.si_pid, received.si_uid)
    line = b"%d %d %d %d " % numbers + command_line(received.si_pid).replace(b"\n", b" ") + b"\n"
    with suppress(BlockingIOError, BrokenPipeError):  # the pipe is full of unread signals, or the supervisor has ended
        os.write(pipe, line)
    with suppress(ProcessLookupError):
        os.kill(supervisor, signal.SIGCONT)


def command_line(pid: int) -> bytes:
    """The command line, each word ended by a NUL. Empty for a process that is gone, hidden or in another container."""
    for name in ("cmdline", "comm"):  # a zombie, or a process inside exec, has only its name
        with suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123 (as below)
            if words := file.read(LONGEST_COMMAND).rstrip(b"\n"):
                return words
    return b""


def reap(supervisor: int, watcher: int) -> int | None:
    """The supervisor's wait status, once it has ended and, after the watcher's end, is our child. Until then None.

    Also reaps other orphans, which pid 1 of a container gets. A stopped watcher is woken.
    """
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            if pid == watcher:
                os.kill(watcher, signal.SIGCONT)
        elif pid in (0, supervisor):
            return status if pid else None


def kill_the_rest() -> None:
    """SIGKILL all children until there are none. Their children become ours when they die."""
    deadline = time.monotonic() + SWEEP_SECONDS
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123 (pathlib takes 15 ms to import)
                for child in file.read().split():
                    os.kill(int(child), signal.SIGKILL)
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                signal.sigtimedwait({signal.SIGCHLD}, 0.01)
        except ChildProcessError:
            return
        except ProcessLookupError:
            continue


def report(exit_code: int) -> int:
    """The run's exit code. Prints a message if the supervisor was killed before it could report the end."""
    if exit_code >= 0:
        return exit_code
    name = signal.Signals(-exit_code).name
    text = f"\nlaunch: the supervisor was ended by {name}; every process of the run has been killed\n"
    with suppress(OSError):  # the terminal may be gone
        os.write(2, text.encode())
    return 1


if __name__ == "__main__":
    sys.exit(main())
