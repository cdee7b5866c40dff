"""What the console writes to: lines for a pipe, a file or a person who wants them; a terminal also gets progress."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from launcher.plan.spec import Plan
from launcher.supervisor.rules.actions import Action
from launcher.supervisor.rules.events import Event
from launcher.view.console.short_lines import short_line
from launcher.view.last_words import emphasised, fitted
from launcher.view.terminal import BLUE, CYAN, MAGENTA, painted, shows_colours, size_of_terminal

LAUNCH = "launch"  # whose lines the supervisor's are
_COLOURS = {LAUNCH: BLUE, "trainer": CYAN}  # of components; others have MAGENTA


class Screen:
    """Lines: `HH:MM:SS component  text`. Colours only on a terminal."""

    patience = 3.0  # seconds between two looks at the logs, at most
    is_live = False  # whether everything that happens is drawn

    def __init__(self, plan: Plan) -> None:
        self._component = plan.followed.name
        shown = plan.followed.ranks.shown if plan.followed.ranks else ()
        longest = f"{self._component}{max(shown)}" if shown else self._component
        self._width = max(len(LAUNCH), len(longest))
        self._colours = shows_colours()

    def text(self, text: str) -> None:
        """Text that stands as it is, such as the header."""
        self._write(text)

    def line(self, line: str) -> None:
        """A line of the followed log. Only the file has its date, and its level if that is no news."""
        short = short_line(line)
        if not short.clock:
            mark = f"[{short.whose}]:" if short.whose else ""
            self._write(self._whose(mark) + line.removeprefix(mark))
            return
        whose = self._whose(f"{short.whose or self._component:<{self._width}}")
        level = painted(short.level, short.colour, self._colours) + " " if short.is_news else ""
        text = short.text if short.is_news else painted(short.text, short.colour, self._colours)
        self._write(f"{short.clock} {whose} {level}{text}")

    def event(self, text: str, colour: str | None = None) -> None:
        """What launch itself says."""
        whose = self._whose(f"{LAUNCH:<{self._width}}")
        self._write(f"{time.strftime('%H:%M:%S')} {whose} {painted(text, colour, self._colours)}")

    def flush(self) -> None:
        """Flush once for many lines. Otherwise a flood takes a whole core, which the workers need."""
        sys.stdout.flush()

    def last_words(self, text: str) -> str:
        if not sys.stdout.isatty():
            return text
        columns, rows = size_of_terminal()
        return emphasised(fitted(text, columns, rows), self._colours)

    def hear(self, happening: Event | Action) -> None:
        """An event or action, before what is said of it. For a view that draws."""

    def steps(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """New steps of the run's progress. For a view that draws."""

    def key(self, key: str) -> None:
        """A key was pressed. For a view that draws."""

    def close(self) -> None:
        sys.stdout.flush()

    def _whose(self, label: str) -> str:
        component = LAUNCH if label.startswith(LAUNCH) else self._component
        return painted(label, _COLOURS.get(component, MAGENTA), self._colours)

    def _write(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")
