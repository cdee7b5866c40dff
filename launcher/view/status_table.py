"""The table of `launch status`: a line for each run, 80 columns wide or as wide as there is room."""

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from launcher.view.metrics import steps_text
from launcher.view.plot import sparkline
from launcher.view.report import duration
from launcher.view.status import RunStatus
from launcher.view.terminal import GAP, GREEN, MAGENTA, RED, YELLOW, aligned, joined, painted, shows_colours

_COLOURS = {
    "queued": YELLOW,
    "starting": YELLOW,
    "running": GREEN,
    "stopping": YELLOW,
    "failed": RED,
    "died": RED,
    "cancelled": MAGENTA,
    "timed out": MAGENTA,
    "preempted": MAGENTA,
    "silent": MAGENTA,
}
_COLUMNS: dict[str, Callable[[RunStatus], str]] = {
    "NAME": lambda run: run.name,
    "STATE": lambda run: run.state,
    "KIND": lambda run: run.kind,
    "ATTEMPT": lambda run: str(run.attempt),
    "STEP": lambda run: steps_text(run.step, run.max_steps),
    "AGE": lambda run: age(time.time() - run.started),
    "TOOK": lambda run: duration(run.duration),
}
_LAST = "LOSS/REWARD"  # and its sparkline
_FLUSH_RIGHT = ("ATTEMPT", "STEP", "AGE", "TOOK")
_LEAVE_FIRST = ("KIND", "TOOK", "ATTEMPT", "AGE")  # what a narrow terminal does without
_VALUE = 8  # columns
_SHORT, _LONG = 8, 40  # columns of a sparkline: what others make room for, and what is enough


def runs_screen(runs: Sequence[RunStatus]) -> str:
    """The table as stdout takes it: on a terminal as many runs as it has lines, in a pipe all."""
    if not runs:
        return "there is no run yet; start one with: launch rl"
    terminal = shutil.get_terminal_size()
    shown = runs[: max(1, terminal.lines - 3)] if sys.stdout.isatty() else runs
    table = runs_table(shown, terminal.columns, shows_colours())
    if len(shown) < len(runs):
        table.append(f"{len(runs) - len(shown)} older ones: launch status | less")
    return "\n".join(table)


def runs_table(runs: Sequence[RunStatus], width: int, colours: bool) -> list[str]:
    """The lines of the table, at most `width` columns wide; only very long names are wider."""
    columns = {title: _column(title, runs) for title in _COLUMNS}
    for title in _LEAVE_FIRST:
        if _room(columns, width) < _SHORT:
            del columns[title]
    room = min(_LONG, _room(columns, width))
    columns["STATE"] = [state_word(cell, colours) for cell in columns["STATE"]]
    columns[_LAST] = [_LAST, *(_metric(run, room) for run in runs)]
    header, *rows = map(joined, zip(*columns.values(), strict=True))
    return [header, *(line for run, row in zip(runs, rows, strict=True) for line in (row, *whereabouts(run)))]


def _column(title: str, runs: Sequence[RunStatus]) -> list[str]:
    return aligned([title, *map(_COLUMNS[title], runs)], right=title in _FLUSH_RIGHT)


def state_word(state: str, colours: bool) -> str:
    return painted(state, _COLOURS.get(state.strip()), colours)


def whereabouts(run: RunStatus) -> Iterator[str]:
    """A line about a run that waits, or that another host has, which cannot be known better than this."""
    if run.state == "queued" and run.reason:
        yield f"  job {run.job}: {run.reason}"
    elif not run.is_local and not run.is_over and run.last_seen:
        yield f"  last seen {duration(time.time() - run.last_seen)} ago on {run.host}"


def age(seconds: float) -> str:
    """ "42s", "3m", "2h", "5d": the largest unit alone."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def _room(columns: dict[str, list[str]], width: int) -> int:
    """How many columns are left for sparklines."""
    taken: Iterable[int] = (len(cells[0]) + GAP for cells in columns.values())
    return width - sum(taken) - _VALUE - 1


def _metric(run: RunStatus, room: int) -> str:
    if run.value is None:
        return ""
    return f"{run.value:<{_VALUE}.3g} {sparkline(run.recent[-room:]) if room > 0 else ''}"
