"""One process becomes three: the guard (the shell's child), its child the watcher, and its child the supervisor."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from launcher.borders.values import ENDING
from launcher.processes import guard, watcher
from launcher.processes.process_tree import become_subreaper, sweep
from launcher.processes.proof import GUARDS
from launcher.processes.signals import WAITED_FOR


@dataclass(frozen=True)
class Guard:
    """The supervisor's handles on guard and watcher."""

    life: int  # a pidfd that becomes readable when the guard dies
    watcher: int  # the same for the watcher
    signals: int  # a pipe with the guard's signals, see `launcher.processes.signals`


def split(root: Path) -> Guard:
    """Fork guard, watcher and supervisor for the run in this directory. Returns in the supervisor only.

    The calling process becomes the guard and does not return. Its signals stay blocked from now on: a signal that comes
    before the supervisor listens is kept, and one that comes after the run's end is ignored.

    Do not start anything after this that must outlive the run, such as a tmux server: all descendants are killed.
    Raises OSError.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # some parents ignore it, and then waiting for a child fails
    become_subreaper()
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)
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
        ending = (str(int(number)) for number in sorted(ENDING))
        _become(root, guard.__file__, supervisor.decode(), str(watcher_pid), str(signals), *ending)
    watcher_life = _watch(root, life, told)
    for descriptor in (signals, number, told):
        os.close(descriptor)
    os.setsid()
    become_subreaper()
    return Guard(life, watcher_life, forwarded)


def _watch(root: Path, guard_life: int, told: int) -> int:
    """Turn into the watcher and tell the guard the supervisor's pid. In the supervisor, return the watcher's pidfd."""
    try:
        os.setsid()
        become_subreaper()
        own_life = os.pidfd_open(os.getpid())
        if supervisor := os.fork():
            os.write(told, b"%d" % supervisor)
            os.set_inheritable(guard_life, True)
            _become(root, watcher.__file__, str(guard_life), str(supervisor))
    except OSError:
        os._exit(1)  # the guard sees the pipe close, or becomes the supervisor's parent
    return own_life


def _become(root: Path, script: str, *arguments: str) -> None:
    """Exec another small script of ours, marked with the run's directory. Raises OSError."""
    environment = {**os.environ, GUARDS: str(root)}
    os.execve(sys.executable, [sys.executable, "-I", "-S", script, *arguments], environment)
