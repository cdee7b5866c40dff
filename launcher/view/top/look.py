"""One run as `launch top` shows it: what was read of it, and from that a table and lines of text."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from launcher.borders.screen import in_one_line
from launcher.numbers import duration, size
from launcher.rundir import RunDir
from launcher.runs.inspection import ComponentStatus, ProcessStatus
from launcher.runs.registry import recorded
from launcher.runs.state import RunState, open_run
from launcher.runs.waits import waits_text
from launcher.view.console.live_frame import LONG_WAIT, gpu_spans
from launcher.view.metric_curves import read_curve, steps_text
from launcher.view.plot import plot
from launcher.view.status.model import RunDetails, run_details
from launcher.view.status.page import presence, reason_text
from launcher.view.status.table import STATE_COLOURS, age
from launcher.view.summary import evaluation_lines, newest_line
from launcher.view.terminal import BOLD, CYAN, DIM, GAP, GREEN, RED, YELLOW
from launcher.view.top.entries import Entries, Entry
from launcher.view.top.grid import Column, Grid, Order, cell, fit, style_of

POINTS = 400  # of a curve
NEWS = 3  # warnings and errors
TALLEST, SHORTEST, WIDEST = 12, 3, 100  # of the plot
NARROWEST_STATE = 12  # columns
FAILURE = 8  # lines of a failure block


@dataclass(frozen=True)
class Look:
    """One run at one moment."""

    details: RunDetails
    newest: list[str]  # steps and evaluations
    curve: list[float]
    news: list[Entry]  # warnings and errors, the newest last
    note: str  # why there are none


class RunReader:
    """Reads one run again and again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._news: Entries | None = None
        self._curve: tuple[Any, list[float]] = (None, [])

    def __call__(self) -> Look:
        """Raises UserError, OSError or ValueError, of a run that cannot be read, or has gone."""
        run, state = open_run(self.root)
        details = run_details(run, state)
        names = [process.name for process in state.processes]
        newest = [*evaluation_lines(run, names)]
        newest += [line for name in names if (line := newest_line(run, name, state.progress))]
        news, note = self._newest_news(run, state)
        look = Look(details, newest, self._newest_curve(run, state, details.step), news, note)
        if has_gone(self.root):
            open_run(self.root)  # says so: what was read while it was removed may be half of it
        return look

    def _newest_curve(self, run: RunDir, state: RunState, step: int | None) -> list[float]:
        """A step that is the same has the same curve."""
        if self._curve[0] != (state.attempt, step):
            path = run.metrics(state.progress.component)
            self._curve = ((state.attempt, step), read_curve(path, state.progress.metric, POINTS))
        return self._curve[1]

    def _newest_news(self, run: RunDir, state: RunState) -> tuple[list[Entry], str]:
        if self._news is None or self._news.attempt != state.attempt:
            self._news = Entries(run, state, level="warning", most=NEWS, one_line_each=True)
        return list(self._news.read()), self._news.note


def has_gone(root: Path) -> bool:
    return recorded(root) is None


# --- the first line ---------------------------------------------------------------------------------------------------


def title(details: RunDetails, columns: int) -> Text:
    text = cell(f"{details.kind} run {details.name}  ", BOLD)
    text.append(in_one_line(details.state), style_of(STATE_COLOURS.get(details.state)))
    words = [in_one_line(reason_text(details.state, details.reason))]
    words += [f"  attempt {details.attempt}"] if details.attempt > 1 else []
    words += [f"  step {steps_text(details.step, details.max_steps)}"] if details.step is not None else []
    words += [f"  {duration(details.duration)}"]
    words += ["" if details.is_local else f"  on {in_one_line(details.host)}"]
    text.append("".join(words))
    return fit(text, columns)


# --- components and ranks ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    key: str
    name: str
    process: ProcessStatus
    state: str
    colour: str | None


_RIGHT = ("PID", "CPU", "MEMORY", "SINCE")
KEYS: Mapping[str, Callable[[_Row], Any]] = {
    "NAME": lambda row: row.name,
    "PID": lambda row: row.process.pid,
    "STATE": lambda row: row.state,
    "CPU": lambda row: row.process.usage and row.process.usage.cpu,
    "MEMORY": lambda row: row.process.usage and row.process.usage.memory,
    "SINCE": lambda row: row.process.started,
}
_LEAVE_FIRST = ("GPU", "PID", "MEMORY")  # on a narrow terminal


def processes_grid(details: RunDetails, order: Order, width: int) -> Grid:
    """The components, each with its ranks below it, or all in the order of a column."""
    found = {row.key: row for row in _rows(details, is_flat=order.title in KEYS)}  # run.json may name one twice
    rows = order.sorted(list(found.values()), KEYS)
    cells = {name: [_CELLS[name](row) for row in rows] for name in _CELLS}
    cells = {name: texts for name, texts in cells.items() if name in ("NAME", "STATE") or any(texts)}
    widths = {name: max(map(cell_len, (order.marked(name), *texts))) for name, texts in cells.items()}
    for name in _LEAVE_FIRST:
        if name in cells and _state_room(widths, width) < min(NARROWEST_STATE, widths["STATE"]):
            del cells[name], widths[name]
    widths["STATE"] = max(1, min(widths["STATE"], _state_room(widths, width)))
    columns = tuple(Column(order.marked(name), widths[name], name in _RIGHT) for name in cells)
    table = tuple(
        (row.key, tuple(_cell(row, name, cells[name][place], widths[name]) for name in cells))
        for place, row in enumerate(rows)
    )
    return Grid(columns, table)


def _state_room(widths: Mapping[str, int], width: int) -> int:
    return width - sum(taken + GAP for name, taken in widths.items() if name != "STATE") - GAP


def _cell(row: _Row, name: str, text: str, width: int) -> Text:
    colour = row.colour if name == "STATE" else CYAN if name == "NAME" and ":" not in row.key else None
    return fit(cell(text.rjust(width) if name in _RIGHT else text, colour), width)


_CELLS: Mapping[str, Callable[[_Row], str]] = {
    "NAME": lambda row: in_one_line(row.name),
    "PID": lambda row: str(row.process.pid) if row.process.pid and row.process.state == "running" else "",
    "STATE": lambda row: row.state,
    "CPU": lambda row: f"{row.process.usage.cpu:.0f}%" if row.process.usage else "",
    "MEMORY": lambda row: size(row.process.usage.memory) if row.process.usage else "",
    "GPU": lambda row: _gpus(row.process),
    "SINCE": lambda row: age(time.time() - row.process.started) if row.process.started else "",
}


def _gpus(process: ProcessStatus) -> str:
    memory = size(process.usage.gpu_memory) if process.usage and process.usage.gpu_memory else ""
    numbers = gpu_spans(process.gpus) if isinstance(process, ComponentStatus) else ""
    return f"{numbers} {memory}".strip()


def _rows(details: RunDetails, is_flat: bool) -> Iterator[_Row]:
    waits = {wait.component: wait for wait in reversed(details.waits)}  # the longest of each
    for component in details.components:
        state, colour = _state(component)
        if (wait := waits.get(component.name)) and component.state in ("running", "not started"):
            waited = max(0.0, time.time() - wait.since)
            state, colour = f"waits for {wait.what}, {duration(waited)}", YELLOW if waited > LONG_WAIT else None
        yield _Row(component.name, component.name, component, in_one_line(state), colour)
        for rank in component.ranks:
            name = f"{component.name} {rank.name}" if is_flat else f"  {rank.name}"
            yield _Row(f"{component.name}:{rank.rank}", name, rank, *_state(rank))
    for launcher in details.launchers:
        if launcher.state == "running":
            yield _Row(f":{launcher.name}", launcher.name, launcher, launcher.state, DIM)
    for node in details.other_nodes:
        for component in node.components:
            name = f"{component.name}@{node.node}"
            text = f"{presence(component)} on {node.host}"
            yield _Row(f":{name}", name, component, in_one_line(text), None)


def _state(process: ProcessStatus) -> tuple[str, str | None]:
    text = in_one_line(presence(process))
    if process.state == "exited" and process.exit_code and not process.ended_by:
        return text, RED
    return text, GREEN if process.state == "running" else YELLOW if process.state == "gone" else None


# --- below them -------------------------------------------------------------------------------------------------------


def body(look: Look, columns: int, rows: int) -> list[Text]:
    """At most `rows` lines: waits, failure, steps, curve, and at the bottom the newest warnings."""
    top = [fit(line, columns) for line in _top(look)]
    news = [fit(entry.line(), columns) for entry in look.news]
    news += [fit(cell(look.note, DIM), columns)] if look.note else []
    room = rows - len(top) - len(news) - bool(news)
    curve = [fit(cell(f"  {line}", GREEN), columns) for line in _plot(look, columns, min(TALLEST, room - 2))]
    lines = [*top, *([cell(f"  {in_one_line(look.details.metric)}")] if curve else []), *curve]
    lines += [cell("")] * min(max(0, rows - len(lines) - len(news)), 1 if news else 0) + news
    return lines[:rows]


def _top(look: Look) -> Iterator[Text]:
    details = look.details
    if details.waits:
        is_long = any(time.time() - wait.since > LONG_WAIT for wait in details.waits)
        yield cell(f"  {waits_text(details.waits)}", YELLOW if is_long else None)
    if details.failure:
        lines = [line for line in str(details.failure["text"]).split("\n") if line.strip()]
        yield from (cell(line, f"{BOLD};{RED}" if number == 0 else None) for number, line in enumerate(lines[:FAILURE]))
        if len(lines) > FAILURE:
            yield cell(f"  {len(lines) - FAILURE} more lines: d", DIM)
    yield from map(cell, look.newest)
    if details.checkpoint is not None:
        yield cell(f"  {'checkpoint':<12} step {details.checkpoint}")


def _plot(look: Look, columns: int, height: int) -> Sequence[str]:
    if height < SHORTEST or len(look.curve) < 2:
        return []
    return plot(look.curve, min(WIDEST, max(8, columns - 14)), height)
