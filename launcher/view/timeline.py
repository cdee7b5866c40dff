"""The start of an attempt as bars, one for each phase: `launch status RUN --timeline`."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from launcher.borders.screen import in_one_line, printable
from launcher.numbers import duration
from launcher.rundir import RunDir
from launcher.runs.state import RunState
from launcher.timeline import Phase, Timeline, read_timeline
from launcher.view.terminal import BOLD, DIM, aligned, painted, size_of_terminal

LONG = 20.0  # seconds; a start that takes longer has its line in the summary
NAMED = 3  # phases in that line
SHORT = 0.05  # seconds; shorter phases are not shown
NARROWEST = 10  # columns of the bars
WORK, WAIT = "█", "░"


def slow_start_line(run: RunDir, state: RunState) -> str | None:
    """What a start of more than 20 s waited for longest, or None."""
    start = read_timeline(run, state)
    if start.first_step is None or start.first_step <= LONG:
        return None
    return f"{duration(start.first_step)} to the first step, longest: {_longest(start)[0]}"


def _longest(start: Timeline) -> list[str]:
    """What the first step waited for, the longest first."""
    longest = sorted(start.critical, key=lambda each: each[1].seconds, reverse=True)[:NAMED]
    return [in_one_line(_named(component, phase)) for component, phase in longest]


def _named(component: str, phase: Phase) -> str:
    return f"{component} {_label(phase)} {_length(phase.seconds)}"


def _label(phase: Phase) -> str:
    return phase.name if phase.rank is None else f"{phase.name} (rank {phase.rank})"


def _length(seconds: float) -> str:
    return f"{seconds:.1f}s" if seconds < 59.95 else duration(seconds)


def timeline_json(start: Timeline) -> dict[str, Any]:
    """For programs, see docs/status.md."""
    return {
        "started": start.started,
        "first_step": start.first_step,
        "components": [asdict(row) for row in start.rows],
        "waited_for": [{"component": component, **asdict(phase)} for component, phase in start.critical],
    }


# --- the page ---------------------------------------------------------------------------------------------------------


def timeline_page(state: RunState, start: Timeline, colours: bool, width: int | None = None) -> str:
    """A line for each phase, with its bar. Bold: the first step waited for it."""
    head = f"start of {state.kind} run {state.name}, attempt {state.attempt}: {_outcome(start)}"
    if not start.rows:
        return printable(head)
    lines = [head, "", *_bars(start, colours, width or size_of_terminal()[0]), ""]
    lines += [f"  {'' if number else 'waited for':<12} {text}" for number, text in enumerate(_longest(start))]
    return "\n".join(lines)


def _outcome(start: Timeline) -> str:
    if not start.rows:
        return "nothing is known of it"
    if start.first_step is not None:
        return f"the first step was done after {_length(start.first_step)}"
    return f"no step yet; the first {_length(max(row.end for row in start.rows))}"


def _bars(start: Timeline, colours: bool, width: int) -> Iterator[str]:
    shown = [(row.component, phase) for row in start.rows for phase in row.phases if phase.seconds >= SHORT]
    if not shown:
        return
    components = aligned([component for component, _ in shown])
    phases = aligned([_label(phase) for _, phase in shown])
    lengths = aligned([_length(phase.seconds) for _, phase in shown], right=True)
    room = max(NARROWEST, width - len(components[0]) - len(phases[0]) - len(lengths[0]) - 9)
    end = max(phase.end for _, phase in shown)
    awaited = {(component, phase.name) for component, phase in start.critical}
    before = None
    for (component, phase), name, its, length in zip(shown, components, phases, lengths, strict=True):
        label = f"  {name if component != before else ' ' * len(name)}  {its}  {length}  "
        weight = BOLD if (component, phase.name) in awaited else DIM
        yield painted((label + _bar(phase, end, room)).rstrip(), weight, colours)
        before = component
    yield from _axis(end, len(label), room)


def _bar(phase: Phase, end: float, room: int) -> str:
    """The bar, with a remark beside it if there is room."""
    first = min(room - 1, int(phase.start / end * room))
    last = min(room, max(first + 1, round(phase.end / end * room)))
    bar = (WAIT if phase.waits_for else WORK) * (last - first)
    remark = f"waits for {phase.waits_for}" if phase.waits_for else ""
    if remark and len(remark) < room - last:
        return f"{' ' * first}{bar} {remark}"
    return f"{remark if len(remark) < first else '':>{max(0, first - 1)}}{' ' * min(first, 1)}{bar}"


def _axis(end: float, indent: int, room: int) -> Iterator[str]:
    right = _length(end)
    yield f"{' ' * indent}0s{right:>{room - 2}}"
