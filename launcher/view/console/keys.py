"""Keys from the terminal that launch was started in. The supervisor reads them, which has a session of its own.

No signal of the terminal reaches it and none stops it, so it looks at the guard, the shell's child: while that is
stopped or in the background, the terminal belongs to the shell, and is neither read nor changed.
"""

import atexit
import os
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from launcher.processes.process_tree import is_pending, terminal_of
from launcher.view.console.borrower import LONGEST, Program, lend

SHORTLY = 0.01  # seconds between two looks while the shell is taking it
LOOK_EVERY = 0.2  # seconds between two looks at who has the terminal
STOPPED_WITHIN = 1.0  # seconds until Ctrl-Z has stopped the shell's job, if anything is stopped by it
TAKEN_WITHIN = 20.0  # seconds that the shell may need to take the terminal back then: the machine may be busy
SUSPEND = "\x1a"  # Ctrl-Z
BACK = ""  # what is heard when launch has the terminal again


class Keys:
    """Calls `pressed` in a thread of its own for each key, until it is closed. Without a terminal it does nothing."""

    def __init__(self, guard: int, pressed: Callable[[str], None]) -> None:
        self._guard, self._pressed = guard, pressed
        self._lock = threading.Lock()  # of the terminal's settings, and of the two below
        self._is_away, self._returns = False, 0  # whether somebody else got the terminal, and how often it came back
        self._before: list[Any] | None = None  # the settings to restore; None while they are not ours
        self._closed = threading.Event()
        self._lending = threading.Lock()  # held while a program has the terminal
        self._wanted: tuple[Program, Callable[[str], None]] | None = None
        self._input = sys.stdin.fileno() if sys.stdin and sys.stdin.isatty() else None
        if self._input is not None:
            self._is_away = not self.is_ours
            if not self._is_away:
                self._begin()
            atexit.register(self.close)  # also when launch itself fails
            threading.Thread(target=self._run, name="keys", daemon=True).start()

    @property
    def is_ours(self) -> bool:
        """Whether launch has the terminal, rather than the shell."""
        return terminal_of(self._guard).is_in_foreground

    @property
    def is_elsewhere(self) -> bool:
        """Whether launch was stopped or put into the background: then nothing is drawn. False without job control."""
        return terminal_of(self._guard).is_in_background

    def close(self) -> None:
        """Restore the terminal. A program that has it gives it back before."""
        self._closed.set()
        if self._lending.acquire(timeout=LONGEST):
            self._lending.release()
        self.restore()

    def lend(self, program: Program, say: Callable[[str], None]) -> None:
        """Let the program have the terminal until it ends. Then BACK is heard, after what it has said of a failure."""
        self._wanted = program, say

    def restore(self) -> None:
        """Give the terminal its settings back, unless the shell has done so."""
        with self._lock:
            before, self._before = self._before, None
            if before is not None and self._input is not None and not terminal_of(self._guard).is_stopped:
                with suppress(termios.error):
                    termios.tcsetattr(self._input, termios.TCSANOW, before)

    def suspend(self) -> bool:
        """What Ctrl-Z does to any program. False if no shell takes the terminal, which is then still ours."""
        self.restore()
        returns = self._returns
        self._signal(signal.SIGTSTP)
        begun = time.monotonic()
        while self._may_be_taken(time.monotonic() - begun):
            time.sleep(SHORTLY)
        if not self.is_ours:
            self._note_loss(returns)
            return True
        self._signal(signal.SIGCONT)
        self._begin()
        return False

    def _note_loss(self, returns: int) -> None:
        """For the thread of the keys, which may look only once `fg` has brought the terminal back.

        `returns` is how often it had come back before. If it did so since, the thread has seen this loss.
        """
        with self._lock:
            self._is_away = self._is_away or self._returns == returns

    def _may_be_taken(self, waited: float) -> bool:
        """Whether the terminal is still ours, and a shell may take it. Without a shell, nothing is stopped."""
        use = terminal_of(self._guard)
        is_stopping = use.is_stopped or is_pending(self._guard, signal.SIGTSTP)
        return use.is_in_foreground and waited < (TAKEN_WITHIN if is_stopping else STOPPED_WITHIN)

    def leave(self) -> bool:
        """Go on in the shell's background, as after Ctrl-Z and `bg`. False as for `suspend`."""
        is_taken = self.suspend()
        self._signal(signal.SIGCONT)
        return is_taken

    def _signal(self, number: signal.Signals) -> None:
        """To the shell's job: the guard, and whatever else is on its command line."""
        with suppress(OSError):
            os.killpg(os.getpgid(self._guard), number)

    def _begin(self) -> None:
        """Single keys, without echo. Ctrl-C stays a signal; Ctrl-Z becomes a key, so that the view can be removed."""
        with self._lock, suppress(termios.error):
            if self._closed.is_set() or self._input is None:
                return
            before = self._before or termios.tcgetattr(self._input)
            ours = [*before[:6], [*before[6]]]
            ours[3] &= ~(termios.ICANON | termios.ECHO)
            ours[6][termios.VSUSP] = b"\0"  # _POSIX_VDISABLE
            ours[6][termios.VMIN], ours[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._input, termios.TCSANOW, ours)
            self._before = before

    def _run(self) -> None:
        while not self._closed.is_set():
            was_away = self._is_away  # before the look: whoever has noted a loss meanwhile has looked before
            has_it = self.is_ours
            if has_it and was_away:
                self._come_back()
            elif not has_it and not was_away:
                self._go_away()
            if self._wanted:
                self._lend(*self._wanted)
            elif has_it:
                self._read()
            else:
                self._closed.wait(LOOK_EVERY)

    def _go_away(self) -> None:
        with self._lock:
            self._is_away, self._before = True, None  # the shell has set its own

    def _come_back(self) -> None:
        with self._lock:
            self._is_away, self._returns = False, self._returns + 1
        self._begin()
        self._pressed(BACK)

    def _lend(self, program: Program, say: Callable[[str], None]) -> None:
        assert self._input is not None
        self._wanted = None
        with self._lending:
            try:
                if words := lend(self._input, program, lambda: self.is_ours and not self._closed.is_set()):
                    say(words)
            except (OSError, subprocess.SubprocessError) as error:
                say(f"launch: {program.argv[0]}: {error}")
        if self.is_ours:
            self._begin()  # it may have left other settings
        self._pressed(BACK)

    def _read(self) -> None:
        assert self._input is not None
        try:
            readable, _, _ = select.select([self._input], [], [], LOOK_EVERY)
            if not readable or self._is_away or not self.is_ours or self._closed.is_set():
                return
            pressed = os.read(self._input, 1).decode(errors="replace")
        except OSError:
            pressed = ""
        if pressed:
            self._pressed(pressed)
        else:
            self._closed.set()  # the terminal is gone
