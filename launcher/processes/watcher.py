"""The watcher: the process between guard and supervisor. It kills the supervisor's orphans, even if the guard is dead.

`launcher.processes.guard_fork` runs `python -I -S watcher.py GUARD_FD SUPERVISOR_PID`. The watcher is the guard's child
and the supervisor's parent, a subreaper in its own session, with the guard's signals blocked. It sleeps in poll until
guard or supervisor ends. It never reaps the supervisor: the guard does that after the watcher's exit, and reports how
the supervisor ended.
"""

import os
import select
import signal
import sys
import time

PATIENCE = 2.0  # seconds between SIGCONT, SIGQUIT and SIGKILL to a stopped supervisor
SWEEP_SECONDS = 5.0


def main() -> int:
    guard, supervisor = int(sys.argv[1]), int(sys.argv[2])
    ended = os.pidfd_open(supervisor)
    if not first_to_end(guard, ended):
        outlive_guard(supervisor, ended)
    kill_the_rest(supervisor)
    if was_killed(supervisor) and not ends_within(guard, 0):
        signal.pidfd_send_signal(guard, signal.SIGCONT)  # wake a stopped guard: it must report this
    return 0


def first_to_end(guard: int, supervisor: int) -> bool:
    """Wait until one of these pidfds' processes ends. True if the supervisor has ended."""
    poll = select.poll()
    poll.register(guard, select.POLLIN)
    poll.register(supervisor, select.POLLIN)
    return supervisor in [descriptor for descriptor, _ in poll.poll()]


def outlive_guard(supervisor: int, ended: int) -> None:
    """Wait until the supervisor has ended the run. A stopped supervisor is woken and gets little time."""
    found = os.waitid(os.P_PID, supervisor, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
    if found is not None and found.si_code == os.CLD_STOPPED:
        for number in (signal.SIGCONT, signal.SIGQUIT, signal.SIGKILL):
            os.kill(supervisor, number)
            if ends_within(ended, PATIENCE):
                return


def ends_within(pidfd: int, seconds: float) -> bool:
    return bool(select.select([pidfd], [], [], seconds)[0])


def kill_the_rest(supervisor: int) -> None:
    """SIGKILL all children except the dead supervisor. Their children become ours when they die."""
    deadline = time.monotonic() + SWEEP_SECONDS
    while time.monotonic() < deadline:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123 (pathlib takes 15 ms to import)
            found = [int(child) for child in file.read().split() if int(child) != supervisor]
        if not found:
            return
        for child in found:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, os.WNOHANG)
        signal.sigtimedwait({signal.SIGCHLD}, 0.01)


def was_killed(supervisor: int) -> bool:
    found = os.waitid(os.P_PID, supervisor, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found is not None and found.si_code != os.CLD_EXITED


if __name__ == "__main__":
    sys.exit(main())
