"""One process becomes two: the guard, which the shell knows, and the supervisor, in a session of its own."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from launcher.run import guard
from launcher.run.processes import become_subreaper


@dataclass(frozen=True)
class Guard:
    """What the supervisor has of its guard."""

    life: int  # a pidfd that becomes readable when it dies
    signals: int  # the end of a pipe: the signals that it receives, see `launcher.run.signals`


def split() -> Guard:
    """Return in the supervisor.

    The guard's signals are blocked from then on, for good: one that comes before the supervisor listens for it is not
    lost, and one that comes after the run's end changes nothing.

    The calling process itself turns into the guard and never returns. Nothing that must outlive the run (a tmux server)
    may be started after this: it would be a descendant, and killed as one. Raises OSError.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as some parents leave it, nobody could be waited for
    become_subreaper()
    signal.pthread_sigmask(signal.SIG_BLOCK, guard.WAITED_FOR)
    guard_pid = os.getpid()
    forwarded, pipe = os.pipe()
    supervisor = os.fork()
    if supervisor:
        os.set_inheritable(pipe, True)
        arguments = [str(Path(guard.__file__)), str(supervisor), str(pipe)]
        os.execv(sys.executable, [sys.executable, "-I", "-S", *arguments])
    os.close(pipe)
    os.setsid()
    become_subreaper()
    life = os.pidfd_open(guard_pid)
    if os.getppid() != guard_pid:  # it died before the pidfd was there
        os._exit(1)
    return Guard(life, forwarded)
