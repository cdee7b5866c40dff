"""Where text goes to: its colours, its size, and cells that stand one below the other."""

import os
import shutil
import sys
from collections.abc import Sequence

GAP = 2  # columns between two cells

RED, GREEN, YELLOW, MAGENTA, DIM = "31", "32", "33", "35", "2"


def shows_colours() -> bool:
    """Whether stdout is a terminal, and its user has nothing against colours (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def columns() -> int:
    """The width of the terminal, or of $COLUMNS; 80 in a pipe."""
    return shutil.get_terminal_size((80, 24)).columns


def painted(text: str, colour: str | None, colours: bool) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if colours and colour and text else text


def padded(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[list[str]]:
    """The cells of all rows, each column of one width; the columns of `right` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        [
            cell.rjust(width) if n in right else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]


def joined(cells: Sequence[str]) -> str:
    return (" " * GAP).join(cells).rstrip()
