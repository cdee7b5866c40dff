"""Lets `launch stacks` read this process's stacks, even where ptrace is not allowed."""

import ctypes
import faulthandler
import os
import signal

from launcher.borders.files import open_regular
from launcher.rundir import RunDir

# A real-time signal is never sent by accident. SIGUSR1 and SIGUSR2 are used by Slurm and by users.
STACKS_SIGNAL = signal.SIGRTMIN + 7

_PR_SET_PTRACER = 0x59616D61
_PR_SET_PTRACER_ANY = ctypes.c_ulong(-1)
_libc = ctypes.CDLL(None)


def make_traceable(run: RunDir) -> None:
    """Allow py-spy to read this process and its forks. On STACKS_SIGNAL, write all threads' stacks to a file.

    The signal may be sent only if the file exists. Unavailable parts are skipped: the permission on a kernel without
    Yama, the file in a run directory that is not writable.
    """
    _allow_ptrace()
    os.register_at_fork(after_in_child=_allow_ptrace)  # Yama's permission is not inherited
    try:
        run.all_stacks.mkdir(parents=True, exist_ok=True)
        descriptor = open_regular(run.stacks(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError:
        return
    faulthandler.register(STACKS_SIGNAL, file=descriptor, all_threads=True)


def _allow_ptrace() -> None:
    _libc.prctl(_PR_SET_PTRACER, _PR_SET_PTRACER_ANY, 0, 0, 0)
