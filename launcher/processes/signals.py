"""The supervisor's signals, each with its sender. None of them can kill the supervisor.

They are blocked in all threads, from before the fork of the supervisor until its exit, and read from a signalfd. The
guard's signals come through its pipe. ctypes is needed because Python has no signalfd, and its handlers get no siginfo.
"""

import asyncio
import ctypes
import os
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from launcher.borders.values import ENDING
from launcher.processes.guard import command_line
from launcher.processes.sender import Sender

Heard = Callable[[signal.Signals, Sender | None], None]

WAITED_FOR = ENDING | {signal.SIGCHLD}
_SIGINFO = struct.Struct("=IiiII108x")  # struct signalfd_siginfo: signo, errno, code, pid, uid
_MOST = 64  # read at a time


class SignalInbox:
    """Calls `heard` in the loop for each signal. `forwarded` is the guard's pipe."""

    def __init__(self, forwarded: int | None, heard: Heard) -> None:
        self._forwarded, self._heard, self._unread = forwarded, heard, b""
        signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)
        for number in WAITED_FOR:
            signal.signal(number, self._while_unblocked)
        self._descriptor = _signalfd(WAITED_FOR)

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self._descriptor, self._read_own)
        if self._forwarded is not None:
            loop.add_reader(self._forwarded, self._read_forwarded)

    def close(self) -> None:
        """Stop listening. Later signals stay pending until this process exits."""
        self._loop.remove_reader(self._descriptor)
        if self._forwarded is not None:
            self._loop.remove_reader(self._forwarded)
        self._heard = lambda *_: None

    def _while_unblocked(self, number: int, _: object) -> None:
        """The handler for a signal while a child is being started. Its sender is unknown."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._heard, signal.Signals(number), None)

    def _read_own(self) -> None:
        try:
            block = os.read(self._descriptor, _MOST * _SIGINFO.size)
        except BlockingIOError:
            return
        for number, _, code, pid, uid in _SIGINFO.iter_unpack(block):
            command = b"" if number == signal.SIGCHLD else command_line(pid)
            self._heard(signal.Signals(number), Sender(code, pid, uid, command))

    def _read_forwarded(self) -> None:
        assert self._forwarded is not None
        block = os.read(self._forwarded, 1 << 16)
        if not block:  # the guard is gone; its pidfd says so, too
            self._loop.remove_reader(self._forwarded)
        *lines, self._unread = (self._unread + block).split(b"\n")
        for line in lines:
            number, code, pid, uid, command = line.split(b" ", 4)
            self._heard(signal.Signals(int(number)), Sender(int(code), int(pid), int(uid), command))


@contextmanager
def unblocked() -> Iterator[None]:
    """A process that is started in this block inherits no blocked signals."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITED_FOR)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signalfd(numbers: frozenset[signal.Signals]) -> int:
    """A descriptor that reports these signals. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    mask = (ctypes.c_ulong * (128 // ctypes.sizeof(ctypes.c_ulong)))()  # a sigset_t
    for number in numbers:
        libc.sigaddset(mask, number)
    descriptor = libc.signalfd(-1, mask, os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "signalfd")
    return int(descriptor)
