"""The live view on a terminal: a few lines at the bottom that are drawn again, and what stands above them stays."""

import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from launcher.plan.spec import Plan
from launcher.runs.inspection import inspect_processes
from launcher.runs.liveness import true_state
from launcher.runs.state import read_state
from launcher.runs.waits import read_waits
from launcher.supervisor.rules.actions import Action
from launcher.supervisor.rules.events import Event
from launcher.view.console.acts import Act, Acts
from launcher.view.console.borrower import Program
from launcher.view.console.keys import BACK, SUSPEND, Keys
from launcher.view.console.live_frame import frame
from launcher.view.console.live_run import LiveRun
from launcher.view.console.screen import Screen
from launcher.view.console.short_lines import short_line
from launcher.view.report import typed_name
from launcher.view.terminal import size_of_terminal

SHORTEST = 0.1  # seconds between two drawings, at least
LONGEST = 1.0  # seconds: times of day are counted on
LOOK_EVERY = 0.1  # seconds between two looks at the logs: an event is shown within a quarter of a second
MEASURE_EVERY = 1.0  # seconds between two measurements of CPU and memory
COST = 200  # a measurement may take this part of the time
MOST_ABOVE = 10_000  # lines that wait while launch is in the background
BACKLOG = 200  # lines that `l` can show of what was logged before
LEAVE, STOP, KILL = ("q", "leave it running"), ("Ctrl-C", "stop"), ("Ctrl-C", "kill at once")
_CLEAR, _UP, _BEGIN, _END = "\x1b[J", "\x1b[{}A", "\x1b[?2026h", "\x1b[?2026l"  # the last two: draw it at once
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class Left(OSError):
    """The user wants no console any more, as if the terminal had gone."""


class LiveScreen(Screen):
    """Shows the view, or with the key `l` the log. `acts` are further keys: what each is called, and what it does."""

    patience = LOOK_EVERY
    is_live = True

    def __init__(self, plan: Plan, guard: int, pressed: Callable[[str], None], acts: Acts) -> None:
        super().__init__(plan)
        self._run, self._acts = LiveRun(plan), acts
        self._drawn: list[str] = []
        self._size = size_of_terminal()
        self._drawn_at, self._is_due = 0.0, True
        self._shows_log, self._is_suspended = False, False
        self._backlog: deque[str] = deque(maxlen=BACKLOG)
        self._above: deque[str] = deque(maxlen=MOST_ABOVE)  # to be written above the view, by any thread
        self._program: Program | None = None  # gets the terminal next, by any thread
        self._keys = Keys(guard, pressed)
        self._closed = threading.Event()
        threading.Thread(target=self._measure, name="usage", daemon=True).start()

    # --- what happens ---

    def hear(self, happening: Event | Action) -> None:
        self._run.hear(happening)
        self._is_due = True

    def line(self, line: str) -> None:
        short = short_line(line)
        if short.is_news:
            words = f"{short.clock} {short.whose or self._component} {short.level} {short.text}"
            self._run.news.append((words, short.colour))
        super().line(line)

    def event(self, text: str, colour: str | None = None) -> None:
        if colour:
            self._run.news.append((f"{time.strftime('%H:%M:%S')} launch {text.splitlines()[0]}", colour))
        super().event(text, colour)

    def text(self, text: str) -> None:
        self._above.append(text)
        self._is_due = True

    def steps(self, steps: Sequence[Mapping[str, Any]]) -> None:
        self._run.add_steps(steps)
        self._is_due = True

    def key(self, key: str) -> None:
        if self._is_suspended and key != BACK:  # typed before somebody else got the terminal
            return
        if key == SUSPEND:
            self._erase()
            self._is_suspended = self._keys.suspend()
        elif key == BACK:
            self._drawn, self._is_suspended = [], False
        elif key == "l":
            self._shows_log = not self._shows_log
            self._erase()
            if self._shows_log:
                self._above.extend(list(self._backlog)[-(self._size[1] - 1) :])
                self._above.append("-- the log; l shows the view again --")
        elif key == "q":
            self._leave()
        elif key in self._acts:
            threading.Thread(target=self._act, args=(self._acts[key][1],), name=f"key {key}", daemon=True).start()
        self._is_due = True

    def _leave(self) -> None:
        """Give the prompt back while the run continues. Raises Left, unless there is no shell to take the terminal."""
        self._erase()
        name = typed_name(self._run.plan)
        sys.stdout.write(f"the run continues in the background\n  launch attach {name}\n  launch stop {name}\n")
        sys.stdout.flush()
        if self._keys.leave():
            raise Left("left with the key q")
        self._above.append("but nothing here takes the terminal back: use launch attach in another one")

    def _act(self, act: Act) -> None:
        try:
            result = act()
        except Exception as error:  # a key must not end the view
            result = f"launch: {error}"
        if isinstance(result, Program):
            self._program = result
        elif text := result.rstrip("\n"):
            self._above.append(text)

    def _lend(self, program: Program) -> None:
        """The view goes away, and comes back when the program has ended."""
        self._erase()
        self._is_suspended, self._program = True, None
        self._keys.lend(program, self._above.append)

    # --- drawing ---

    def flush(self) -> None:
        """Draw, if something is new and the last drawing is long enough ago."""
        if self._program and not self._is_suspended and not self._keys.is_elsewhere:
            self._lend(self._program)
        now, size = time.monotonic(), size_of_terminal()
        is_due = self._is_due or size != self._size or self._above or now - self._drawn_at >= LONGEST
        if not is_due or now - self._drawn_at < SHORTEST or self._is_suspended or self._keys.is_elsewhere:
            return
        self._draw()
        self._drawn_at, self._is_due = now, False

    def _draw(self) -> None:
        lines, size = self._fitting()
        above = self._taken()
        if above or lines != self._drawn or size != self._size:
            text = "".join(f"{line}\n" for line in (*above, *lines))
            sys.stdout.write(f"{_BEGIN}{self._to_the_top(size[0])}{text}{_END}")
            sys.stdout.flush()
        self._drawn, self._size = lines, size

    def _fitting(self) -> tuple[list[str], tuple[int, int]]:
        """The view, and the size that the terminal still has once it is made: at another one, old lines would stay."""
        while True:
            size = size_of_terminal()
            lines = [] if self._shows_log else self._view(size)
            if size == size_of_terminal():
                return lines, size

    def _view(self, size: tuple[int, int]) -> list[str]:
        last = KILL if self._run.is_ending else STOP
        keys = [*((key, what) for key, (what, _) in self._acts.items()), ("l", "full log"), LEAVE, last]
        return frame(self._run, keys, size[0], max(1, size[1] - 1), self._colours)

    def _taken(self) -> list[str]:
        """What is to be written above the view, once."""
        return [self._above.popleft() for _ in range(len(self._above))]

    def _to_the_top(self, columns: int) -> str:
        """To the first line of what was drawn. A terminal that became narrower has wrapped its lines."""
        height = sum(max(1, -(-_width(line) // columns)) for line in self._drawn)
        return (_UP.format(height) if height else "") + f"\r{_CLEAR}"

    def _erase(self) -> None:
        if self._drawn:
            sys.stdout.write(self._to_the_top(size_of_terminal()[0]))
            sys.stdout.flush()
        self._drawn = []

    def _write(self, text: str) -> None:
        if self._shows_log:
            self._above.append(text)
        else:
            self._backlog.append(text)

    def close(self) -> None:
        """Leave the screen as if there had been no view."""
        self._closed.set()
        self._keys.close()  # a program that has the terminal leaves it first
        if not self._keys.is_elsewhere:
            self._erase()
        sys.stdout.write("".join(f"{line}\n" for line in self._taken()))
        super().close()

    # --- CPU, memory, and what is waited for ---

    def _measure(self) -> None:
        wait = 0.0
        while not self._closed.wait(wait):
            began = time.thread_time()
            run = self._run.plan.run
            if state := read_state(run):
                found = inspect_processes(state, true_state(run, state))
                self._run.measured(found.components, read_waits(run, state))
            wait = max(MEASURE_EVERY, COST * (time.thread_time() - began))


def _width(line: str) -> int:
    return cell_len(_ESCAPE.sub("", line))
