"""The table of `launch status`: one line per run, as wide as the terminal, or 80 columns."""

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from launcher.borders.screen import in_one_line
from launcher.numbers import duration, three_digits
from launcher.rundir import RunDir
from launcher.runs.registry import every_run
from launcher.view.metric_curves import read_curve, steps_text
from launcher.view.plot import sparkline
from launcher.view.report import shown as shown_path
from launcher.view.status.model import Runs, RunStatus
from launcher.view.terminal import GAP, GREEN, MAGENTA, RED, YELLOW, aligned, joined, painted, shows_colours

STATE_COLOURS = {
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
LAST = "LOSS/REWARD"  # and its sparkline
_FLUSH_RIGHT = ("ATTEMPT", "STEP", "AGE", "TOOK")
_LEAVE_FIRST = ("KIND", "TOOK", "ATTEMPT", "AGE")  # the columns that a narrow terminal drops first
_VALUE = 8  # columns
_SHORT, _LONG = 8, 40  # columns of a sparkline, at least and at most


def runs_screen(runs: Runs, everywhere: bool = False) -> str:
    """The table for stdout. A terminal gets as many runs as it has lines, a pipe gets all.

    With `everywhere`, each run is shown with its directory.
    """
    unreadable = list(unreadable_lines(runs))
    if not runs.shown:
        return "\n".join([*unreadable, nothing_text(everywhere)])
    terminal = shutil.get_terminal_size()
    room = (terminal.lines - 3 - len(unreadable)) // (2 if everywhere else 1)
    shown = runs.shown[: max(1, room)] if sys.stdout.isatty() else runs.shown
    table = runs_table(shown, terminal.columns, shows_colours(), everywhere)
    if len(shown) < len(runs.shown):
        more = "launch status --all" if everywhere else "launch status"
        table.append(f"{len(runs.shown) - len(shown)} older ones: {more} | less")
    return "\n".join([*table, *unreadable])


def unreadable_lines(runs: Runs) -> Iterator[str]:
    """The runs that cannot be read, and why."""
    if count := len(runs.unreadable):
        yield f"{count} more cannot be read:"
    yield from (in_one_line(f"  {shown_path(path)}: {why}") for path, why in runs.unreadable.items())


def nothing_text(everywhere: bool) -> str:
    if not everywhere and every_run():
        return "there is no run below ./outputs; list runs elsewhere with: launch status --all"
    return "there is no run yet; start one with: launch rl"


def runs_table(runs: Sequence[RunStatus], width: int, colours: bool, with_directories: bool = False) -> list[str]:
    """The lines of the table, at most `width` columns wide; only very long names and directories are wider."""
    columns = run_columns(runs, width)
    columns["STATE"] = [state_word(cell, colours) for cell in columns["STATE"]]
    header, *rows = map(joined, zip(*columns.values(), strict=True))
    lines = [header]
    for run, row in zip(runs, rows, strict=True):
        lines += [row, *([in_one_line(f"  {run.directory}")] if with_directories else []), *whereabouts(run)]
    return lines


def run_columns(runs: Sequence[RunStatus], width: int) -> dict[str, list[str]]:
    """The columns for which there is room, by title: the title and a cell for each run, aligned and printable."""
    columns = {title: _column(title, runs) for title in _COLUMNS}
    for title in _LEAVE_FIRST:
        if _room(columns, width) < _SHORT:
            del columns[title]
    room = min(_LONG, _room(columns, width))
    return columns | {LAST: [LAST, *(_metric(run, room) for run in runs)]}


def _column(title: str, runs: Sequence[RunStatus]) -> list[str]:
    return aligned([title, *map(_COLUMNS[title], runs)], right=title in _FLUSH_RIGHT)


def state_word(state: str, colours: bool) -> str:
    return painted(state, STATE_COLOURS.get(state.strip()), colours)


def whereabouts(run: RunStatus) -> Iterator[str]:
    """A line below a run that is queued or runs on another host."""
    if run.state == "queued" and run.reason:
        yield in_one_line(f"  job {run.job}: {run.reason}")
    elif not run.is_local and not run.is_over and run.last_seen:
        yield in_one_line(f"  last seen {duration(time.time() - run.last_seen)} ago on {run.host}")


def age(seconds: float) -> str:
    """ "42s", "3m", "2h", "5d": the largest unit alone."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def _room(columns: dict[str, list[str]], width: int) -> int:
    """The number of columns for sparklines."""
    taken: Iterable[int] = (len(cells[0]) + GAP for cells in columns.values())
    return width - sum(taken) - _VALUE - 1


def _metric(run: RunStatus, room: int) -> str:
    if run.value is None:
        return ""
    line = sparkline(_curve(run, room), room) if room > 0 else ""
    return f"{three_digits(run.value):<{_VALUE}} {line}"


def _curve(run: RunStatus, points: int) -> list[float]:
    """The metric over the whole run. It is read here, because only the shown runs need it."""
    path = RunDir(Path(run.directory)).metrics(run.component)
    return read_curve(path, run.metric, points) or run.recent
