"""Text for a terminal: colours and columns."""

import os
import sys
import textwrap
from collections.abc import Sequence

from launcher.borders.screen import in_lines, in_one_line

GAP = 2  # columns between two cells

BOLD, DIM = "1", "2"
RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN = "31", "32", "33", "34", "35", "36"


def shows_colours() -> bool:
    """Whether stdout is a terminal that has colours, and whose user allows them (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and not is_dumb()


def is_dumb() -> bool:
    """Whether the terminal can only show one line after the other, such as that of an editor."""
    return os.environ.get("TERM") in ("dumb", "unknown")


def size_of_terminal() -> tuple[int, int]:
    """(columns, rows) of stdout's terminal."""
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return 80, 24
    return columns or 80, rows or 24


def painted(text: str, colour: str | None, colours: bool) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if colours and colour and text else text


def aligned(cells: Sequence[str], right: bool = False) -> list[str]:
    """The cells of a column, all as wide as the widest; colours come later."""
    cells = [in_one_line(cell) for cell in cells]
    width = max(map(len, cells))
    return [cell.rjust(width) if right else cell.ljust(width) for cell in cells]


def joined(cells: Sequence[str]) -> str:
    """A row."""
    return (" " * GAP).join(cells).rstrip()


def wrapped(start: str, text: str, columns: int) -> list[str]:
    """The text behind its title, in lines of this width that begin below each other. No word is broken."""
    return textwrap.wrap(
        in_lines([text]),
        columns,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [start.rstrip()]
