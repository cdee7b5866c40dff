"""The live view as lines of text, for a terminal of any size: a pure function of what is known of the run."""

import re
import time
from collections.abc import Callable, Iterator, Sequence

from rich.cells import cell_len, set_cell_size

from launcher.borders.screen import in_one_line
from launcher.failure.failure import ending_text
from launcher.numbers import duration, size, three_digits
from launcher.view.console.live_run import Component, LiveRun
from launcher.view.metric_curves import steps_text
from launcher.view.plot import plot, sparkline
from launcher.view.terminal import BOLD, CYAN, DIM, GREEN, RED, YELLOW, painted

BAR = 24  # columns
NARROWEST_CURVE = 20  # columns of the terminal
WIDEST_CURVE = 60
TALLEST_CURVE, SHORTEST_CURVE = 6, 3  # rows
SHORTEST_STATE = 20  # columns
LOWEST_WITH_TITLES = 16  # rows of the terminal
LONG_WAIT = 30.0  # seconds after which a wait is worth a colour

_ADDRESS = re.compile(r" at https?://\S+")

Line = tuple[tuple[str, str | None], ...]
"""Pieces of text, each with its colour."""


def frame(run: LiveRun, keys: Sequence[tuple[str, str]], columns: int, rows: int, colours: bool) -> list[str]:
    """At most `rows` lines, none wider than `columns`. `keys` are shown at the bottom, each with what it does."""
    now = time.monotonic()
    top = [*_news(run), _title(run, now), *_components(run, now, columns, rows >= LOWEST_WITH_TITLES)]
    middle, bottom = [*_progress(run, columns), *_evaluations(run)], _keys(keys, columns)
    room = rows - len(top) - len(middle) - len(bottom)
    curve = _curve(run, columns, min(TALLEST_CURVE, room - 2))
    blank: list[Line] = [()] if room - len(curve) >= 2 else []
    lines = [*top, *(blank if middle else ()), *middle, *curve, *blank, *bottom]
    if len(lines) > rows:  # the least important ones stand at the bottom
        lines = lines[:rows]
    return [_drawn(line, columns, colours) for line in lines]


def _drawn(line: Line, columns: int, colours: bool) -> str:
    """The line in colour. What does not fit is cut, and that is shown."""
    drawn, left = [], columns
    for text, colour in line:
        text = in_one_line(text)
        width = cell_len(text)
        if width > left:
            text = set_cell_size(text, max(0, left - 1)) + "…" if left else ""
        drawn.append(painted(text, colour, colours))
        left -= min(width, left)
    return "".join(drawn).rstrip()


def _width(line: Line) -> int:
    return sum(cell_len(text) for text, _ in line)


# --- what has gone wrong, and which run it is -------------------------------------------------------------------------


def _news(run: LiveRun) -> Iterator[Line]:
    yield from ((piece,) for piece in run.news)


def _title(run: LiveRun, now: float) -> Line:
    if run.next_begins is not None:
        left = run.next_begins - now
        state, colour = f"restarting in {duration(left)}" if left > 0 else "restarting", YELLOW
    elif run.is_stopping:
        state, colour = "stopping", YELLOW
    elif not run.has_begun:
        state, colour = "starting", YELLOW
    else:
        state, colour = "running", GREEN
    attempt = f", attempt {run.plan.run.attempt}" if run.plan.run.attempt > 1 else ""
    name = f"{run.plan.kind} run {run.plan.name}{attempt}"
    return ((f"{name}  ", BOLD), (state, colour), (f"  {duration(now - run.began)}", None))


# --- components -------------------------------------------------------------------------------------------------------


def _components(run: LiveRun, now: float, columns: int, with_titles: bool) -> Iterator[Line]:
    """A row for each component, below the titles of its numbers. A state that is long takes the place of them."""
    components = list(run.components.values())
    names = _column([its.name for its in components])
    states = [_state(run, its, now) for its in components]
    titles, *numbers = _numbers(run, components, columns - 2 - cell_len(names[0]) - 2 - SHORTEST_STATE)
    room = columns - 2 - cell_len(names[0]) - 2 - cell_len(titles)
    width = max((cell_len(text) for text, _ in states if cell_len(text) <= room), default=0)
    if with_titles and titles:
        yield ((" " * (2 + cell_len(names[0]) + 2 + width) + titles, DIM),)
    for name, (text, colour), its in zip(names, states, numbers, strict=True):
        more = "" if cell_len(text) > room else its
        yield (f"  {name}  ", CYAN), (text + " " * (width - cell_len(text)), colour), (more, DIM)


def _numbers(run: LiveRun, components: Sequence[Component], room: int) -> list[str]:
    """The titles, then the numbers of each component. What has no room is left out, the least important first."""
    found: dict[str, list[str]] = {}
    for title in ("cpu", "memory", "gpu", "pid"):
        texts = [_NUMBERS[title](run, its) for its in components]
        cells = _column([title.upper(), *texts], right=title != "gpu")
        width = cell_len(cells[0])
        if any(texts) and width + 2 <= room:
            found[title] = cells
            room -= width + 2
    shown = [found[title] for title in ("pid", "cpu", "memory", "gpu") if title in found]
    return ["".join(f"  {cells[place]}" for cells in shown) for place in range(len(components) + 1)]


def _column(cells: Sequence[str], right: bool = False) -> list[str]:
    width = max(map(cell_len, cells))
    pad = [" " * (width - cell_len(cell)) for cell in cells]
    return [space + cell if right else cell + space for cell, space in zip(cells, pad, strict=True)]


def _state(run: LiveRun, its: Component, now: float) -> tuple[str, str | None]:
    """What a component does, and the colour of that."""
    if its.trouble:
        return its.trouble, RED
    if its.has_ended:
        return ending_text(its.exit_code, its.ended_by), None if its.ended_by or its.exit_code == 0 else RED
    since = duration(now - its.since)
    if its.pid is None:
        awaited = [name for name in its.after if name in run.components and not run.components[name].is_up]
        return (f"waiting for {' and '.join(awaited)}, {since}" if awaited else "not started"), YELLOW
    if missing := its.ranks - len(its.started_ranks):
        return f"{_ranks(its)}, {missing} still starting, {since}", YELLOW
    if its.ended_ranks:
        return f"{_ranks(its)}, {len(its.ended_ranks)} ended", None
    if its.has_ready_check and not its.is_ready:
        return f"starting, {since}", YELLOW
    if wait := run.waits.get(its.name):
        waited = max(0.0, time.time() - wait.since)
        what = _ADDRESS.sub("", wait.what)  # which would take the place of the numbers
        return f"waiting for {what}, {duration(waited)}", YELLOW if waited > LONG_WAIT else None
    return ", ".join([*([_ranks(its)] if its.ranks else []), "ready" if its.is_ready else f"running, {since}"]), None


def _ranks(its: Component) -> str:
    return f"{its.ranks} rank{'s' if its.ranks != 1 else ''}"


def _pid(run: LiveRun, its: Component) -> str:
    return str(its.pid) if its.pid and not its.has_ended else ""


def _cpu(run: LiveRun, its: Component) -> str:
    found = run.usage.get(its.name)
    return f"{found.usage.cpu:.0f}%" if found and found.usage and not its.has_ended else ""


def _memory(run: LiveRun, its: Component) -> str:
    found = run.usage.get(its.name)
    return size(found.usage.memory) if found and found.usage and not its.has_ended else ""


def _gpu(run: LiveRun, its: Component) -> str:
    if not its.gpus:
        return ""
    found = run.usage.get(its.name)
    memory = found.usage.gpu_memory if found and found.usage else None
    return gpu_spans(its.gpus) + (f" {size(memory)}" if memory else "")


def gpu_spans(gpus: Sequence[str]) -> str:
    """ "0-7" of neighbours, else "0,2"."""
    if len(gpus) > 2 and all(gpu.isdigit() for gpu in gpus):
        numbers = [int(gpu) for gpu in gpus]
        if numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(gpu if len(gpu) <= 4 else f"{gpu[:8]}" for gpu in gpus)


_NUMBERS: dict[str, Callable[[LiveRun, Component], str]] = {"pid": _pid, "cpu": _cpu, "memory": _memory, "gpu": _gpu}


# --- progress ---------------------------------------------------------------------------------------------------------


def _progress(run: LiveRun, columns: int) -> Iterator[Line]:
    """Step, bar, rate and time left, then the newest value. Before the first step, nothing."""
    if run.step is None:
        return
    total = run.plan.progress.max_steps
    pieces: list[tuple[str, str | None]] = [(f"  step {steps_text(run.step, total)}", BOLD)]
    words = [f"{three_digits(rate)} steps/s"] if (rate := run.pace.rate()) else []
    words += [f"{duration(left)} left"] if (left := run.pace.seconds_left(total)) is not None else []
    text = "".join(f"  {word}" for word in words)
    if total and columns - _width(tuple(pieces)) - cell_len(text) >= BAR + 2:
        done = min(BAR, BAR * run.step // max(1, total))
        pieces += [("  " + "━" * done, GREEN), ("─" * (BAR - done), DIM)]
    yield (*pieces, (text, None))
    if run.newest is not None:
        yield ((f"  {run.plan.progress.metric} ", None), (three_digits(run.newest), BOLD))


def _evaluations(run: LiveRun) -> Iterator[Line]:
    for name, ((first, began), (last, ended)) in run.evaluations.items():
        words = f"{three_digits(ended)} at step {last}"
        before = f", {three_digits(began)} at step {first}" if first != last else ""
        yield (f"  {name} ", None), (words, BOLD), (before, DIM)


def _curve(run: LiveRun, columns: int, height: int) -> list[Line]:
    if len(run.values) < 2 or columns < NARROWEST_CURVE:
        return []
    if height < SHORTEST_CURVE:
        return [((f"  {sparkline(run.values, min(WIDEST_CURVE, columns - 4))}", GREEN),)] if height > -2 else []
    return [((f"  {line}", GREEN),) for line in plot(run.values, min(WIDEST_CURVE, columns - 14), height)]


def _keys(keys: Sequence[tuple[str, str]], columns: int) -> list[Line]:
    """The keys, as many as fit into one line."""
    pieces: list[tuple[str, str | None]] = []
    for key, what in keys:
        more: list[tuple[str, str | None]] = [("  ", None), (key, BOLD), (f" {what}", DIM)]
        if _width((*pieces, *more)) > columns:
            break
        pieces += more
    return [tuple(pieces)] if pieces else []
