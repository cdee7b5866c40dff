"""The process that the shell started, once the run is on its way: it forwards signals and outlives the supervisor.

Run as `python -I -S guard.py SUPERVISOR_PID WATCHER_PID PIPE` by `launcher.processes.guard_fork`, with every signal
below already blocked and this process already a subreaper, so that it costs nothing while it waits. If supervisor and
watcher die, whatever had been started becomes a child of this process and is killed. A signal is forwarded as a line in
the pipe, together with who sent it: kill() would name this process as the sender. Imports nothing but the standard
library's smallest parts.
"""

import os
import signal
import sys
import time
from contextlib import suppress

FORWARDED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1})
WAITED_FOR = FORWARDED | {signal.SIGCHLD}
SWEEP_SECONDS = 5.0
LONGEST_COMMAND = 1000  # bytes; a line stays below what a pipe takes in one piece


def main() -> int:
    supervisor, watcher, pipe = map(int, sys.argv[1:])
    os.set_blocking(pipe, False)
    while True:
        received = signal.sigwaitinfo(WAITED_FOR)
        if received.si_signo != signal.SIGCHLD:
            forward(received, supervisor, pipe)
            continue
        status = reap(supervisor, watcher)
        if status is not None:
            kill_the_rest()
            return report(os.waitstatus_to_exitcode(status))


def forward(received: signal.struct_siginfo, supervisor: int, pipe: int) -> None:
    """Hand the signal and its sender on, and wake a supervisor that is stopped."""
    numbers = (received.si_signo, received.si_code, received.si_pid, received.si_uid)
    line = b"%d %d %d %d " % numbers + command_line(received.si_pid).replace(b"\n", b" ") + b"\n"
    with suppress(BlockingIOError, BrokenPipeError):  # it has unread signals enough, or it has ended
        os.write(pipe, line)
    with suppress(ProcessLookupError):
        os.kill(supervisor, signal.SIGCONT)


def command_line(pid: int) -> bytes:
    """Its words, each ended by a NUL; empty when the process is gone, hidden, or in another container (pid 0)."""
    for name in ("cmdline", "comm"):  # the name alone of one that has ended and was not waited for, or is in its exec
        with suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123 (as below)
            if words := file.read(LONGEST_COMMAND).rstrip(b"\n"):
                return words
    return b""


def reap(supervisor: int, watcher: int) -> int | None:
    """The supervisor's wait status once it has ended and is ours, when the watcher between us is gone.

    Whatever else falls to the first process of a container goes. A watcher that somebody stops is woken up.
    """
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            if pid == watcher:
                os.kill(watcher, signal.SIGCONT)
        elif pid in (0, supervisor):
            return status if pid else None


def kill_the_rest() -> None:
    """SIGKILL to all children until there are none; their own children become ours as they die."""
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
    """The run's exit code; says so when the supervisor did not live to report it."""
    if exit_code >= 0:
        return exit_code
    name = signal.Signals(-exit_code).name
    text = f"\nlaunch: the supervisor was ended by {name}; every process of the run has been killed\n"
    with suppress(OSError):  # the terminal may be gone
        os.write(2, text.encode())
    return 1


if __name__ == "__main__":
    sys.exit(main())
