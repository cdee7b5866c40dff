"""One process becomes three: the guard, which the shell knows, below it the watcher, and below that the supervisor."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from launcher.processes import guard, watcher
from launcher.processes.process_tree import become_subreaper, sweep
from launcher.processes.proof import GUARDS


@dataclass(frozen=True)
class Guard:
    """What the supervisor has of the processes above it."""

    life: int  # a pidfd that becomes readable when the guard dies
    watcher: int  # the same of the watcher
    signals: int  # the end of a pipe: the signals that the guard receives, see `launcher.processes.signals`


def split(root: Path) -> Guard:
    """Return in the supervisor of the run in this directory.

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
    life = os.pidfd_open(os.getpid())
    forwarded, signals = os.pipe()
    number, told = os.pipe()
    watcher_pid = os.fork()
    if watcher_pid:
        os.close(told)
        supervisor = os.read(number, 20)
        if not supervisor:
            sweep()
            raise BlockingIOError("the processes that supervise a run cannot be started")
        os.set_inheritable(signals, True)
        _become(root, guard.__file__, supervisor.decode(), str(watcher_pid), str(signals))
    watcher_life = _watch(root, life, told)
    for descriptor in (signals, number, told):
        os.close(descriptor)
    os.setsid()
    become_subreaper()
    return Guard(life, watcher_life, forwarded)


def _watch(root: Path, guard_life: int, told: int) -> int:
    """Turn into the watcher, which tells the guard the supervisor's pid; return its pidfd in the supervisor."""
    try:
        os.setsid()
        become_subreaper()
        own_life = os.pidfd_open(os.getpid())
        if supervisor := os.fork():
            os.write(told, b"%d" % supervisor)
            os.set_inheritable(guard_life, True)
            _become(root, watcher.__file__, str(guard_life), str(supervisor))
    except OSError:
        os._exit(1)  # the guard is told by the end of the pipe, or lives on as the supervisor's only parent
    return own_life


def _become(root: Path, script: str, *arguments: str) -> None:
    """Turn into another program of ours, as small as Python can be, that shows whose it is. Raises OSError."""
    environment = {**os.environ, GUARDS: str(root)}
    os.execve(sys.executable, [sys.executable, "-I", "-S", str(Path(script)), *arguments], environment)
