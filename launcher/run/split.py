"""One process becomes two: the guard, which the shell knows, and the supervisor, in a session of its own."""

import os
import signal
import sys
from pathlib import Path

from launcher.run import guard
from launcher.run.processes import become_subreaper


def split() -> int:
    """Return in the supervisor, with a pidfd that becomes readable when the guard dies.

    The guard's signals are blocked from then on: one that comes before the supervisor listens for it is not lost.

    The calling process itself turns into the guard and never returns. Nothing that must outlive the run (a tmux server)
    may be started after this: it would be a descendant, and killed as one. Raises OSError.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as some parents leave it, nobody could be waited for
    become_subreaper()
    signal.pthread_sigmask(signal.SIG_BLOCK, guard.WAITED_FOR)
    guard_pid = os.getpid()
    supervisor = os.fork()
    if supervisor:
        os.execv(sys.executable, [sys.executable, "-I", "-S", str(Path(guard.__file__)), str(supervisor)])
    os.setsid()
    become_subreaper()
    guard_fd = os.pidfd_open(guard_pid)
    if os.getppid() != guard_pid:  # it died before the pidfd was there
        os._exit(1)
    return guard_fd
