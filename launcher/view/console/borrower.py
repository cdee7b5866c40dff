"""A program that has the terminal for a while, such as `tmux attach`, from the key that starts it until it ends.

It is a child of the supervisor, so the terminal is not that of its session. It needs no more than that: tmux takes all
keys as keys, so none is a signal to launch. Only SIGWINCH would not reach it, and is sent from here.
"""

import os
import select
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from launcher.processes.process_tree import spared, terminal_of
from launcher.processes.signals import WAITED_FOR

LOOK_EVERY = 0.1  # seconds between two looks at the terminal
PATIENCE = 1.0  # seconds that the program has to give the terminal back
LONGEST = 3 * PATIENCE  # seconds until it is back, once it is wanted
_MOST_WORDS = 4096  # bytes
_USUAL = ("[detached", "[exited]", "[terminated]", "[server exited]")  # tmux has left the screen as it was
# To the normal screen, without modes of keys and mouse, after a program that could not do it itself.
_RESET = b"\x1b[?1049l\x1b[?1l\x1b>\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?25h\x1b[m"


@dataclass(frozen=True)
class Program:
    argv: tuple[str, ...]
    environment: Mapping[str, str]


def lend(terminal: int, program: Program, may_stay: Callable[[], bool]) -> str:
    """Run the program on the terminal until it ends, or until it may not stay. Returns what it says of a failure.

    A program that stops itself is ended: no shell would continue it. Raises OSError if it cannot be started.
    """
    words, output = os.pipe()
    with os.fdopen(words, "rb", 0) as pipe:
        try:
            process = subprocess.Popen(
                program.argv,
                env=program.environment,
                stdin=terminal,
                stdout=output,
                stderr=output,
                process_group=0,  # one of its own can be stopped, and one sees that
                preexec_fn=_unblock,  # safe after fork: one system call, no lock
            )
        finally:
            os.close(output)
        process.returncode = 0  # Popen must not reap it: the supervisor reaps all children
        with spared(process.pid):
            is_well = _await(process.pid, terminal, may_stay)
        os.set_blocking(words, False)
        said = (pipe.read(_MOST_WORDS) or b"").decode(errors="replace").strip()
    if said.startswith(_USUAL):
        return ""
    if not is_well or said.startswith("["):  # such as "[server exited unexpectedly]"
        os.write(terminal, _RESET)
    return said


def _await(pid: int, terminal: int, may_stay: Callable[[], bool]) -> bool:
    """Wait until the program has ended. False if it had to be killed."""
    try:
        life = os.pidfd_open(pid)
    except ProcessLookupError:  # it has ended at once, and the supervisor has reaped it
        return True
    try:
        size = os.get_terminal_size(terminal)
        while not _ends_within(life, LOOK_EVERY):
            if not may_stay() or terminal_of(pid).is_stopped:
                return _end(life)
            if size != (size := os.get_terminal_size(terminal)):
                _signal(life, signal.SIGWINCH)
        return True
    finally:
        os.close(life)


def _end(life: int) -> bool:
    """End the program. False if it had to be killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(life, number)
        _signal(life, signal.SIGCONT)
        if _ends_within(life, PATIENCE):
            return number is signal.SIGTERM
    return False


def _signal(life: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(life, number)


def _ends_within(life: int, seconds: float) -> bool:
    return bool(select.select([life], [], [], seconds)[0])


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITED_FOR)
