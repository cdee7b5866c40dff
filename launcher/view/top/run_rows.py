"""The table of all runs: what `launch status` shows, sorted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from launcher.view.status.model import RunStatus
from launcher.view.status.table import LAST, STATE_COLOURS, run_columns
from launcher.view.terminal import GAP
from launcher.view.top.grid import Column, Grid, Order, cell

SHORTEST_NAME = 16  # columns
MARK = 2  # columns of the sign of the order

KEYS: Mapping[str, Callable[[RunStatus], Any]] = {
    "NAME": lambda run: run.name,
    "STATE": lambda run: run.state,
    "KIND": lambda run: run.kind,
    "ATTEMPT": lambda run: run.attempt,
    "STEP": lambda run: run.step,
    "AGE": lambda run: -run.started,
    "TOOK": lambda run: run.duration,
    LAST: lambda run: run.value,
}


def runs_grid(runs: Sequence[RunStatus], order: Order, width: int) -> Grid:
    """The runs in a table that is `width` columns wide."""
    runs = order.sorted(runs, KEYS)
    longest = max(SHORTEST_NAME, width // 2 - GAP)
    named = [replace(run, name=_short(run.name, longest)) for run in runs]
    columns = run_columns(named, width - GAP - MARK)
    cells = {title: [cell(text, _colour(title, text)) for text in texts[1:]] for title, texts in columns.items()}
    rows = zip(*cells.values(), strict=True)
    return Grid(
        tuple(_column(order, title, texts) for title, texts in columns.items()),
        tuple((run.directory, row) for run, row in zip(runs, rows, strict=True)),
    )


def _column(order: Order, title: str, texts: Sequence[str]) -> Column:
    marked = order.marked(title)
    return Column(marked, max(len(marked), *map(len, texts)), is_right=texts[0] != title and texts[0].endswith(title))


def _colour(title: str, text: str) -> str | None:
    return STATE_COLOURS.get(text.strip()) if title == "STATE" else None


def _short(name: str, width: int) -> str:
    """A long name differs from others at its end, more often than in its middle."""
    if len(name) <= width:
        return name
    end = width // 3
    return f"{name[: width - end - 1]}…{name[-end:]}"
