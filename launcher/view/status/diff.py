"""Two runs beside each other: what was asked, what it ran on, and what came of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.borders.masking import masked
from launcher.borders.screen import in_one_line, quoted
from launcher.config.base import parse_duration
from launcher.numbers import duration, three_digits
from launcher.options.comments import Keys
from launcher.rundir import RunDir
from launcher.runs.state import RunState
from launcher.view.metric_curves import newest_values, read_curve, read_evaluations, read_newest, steps_text
from launcher.view.plot import sparkline
from launcher.view.status.model import run_status
from launcher.view.summary import HEADLINES
from launcher.view.terminal import BOLD, painted

_CURVE = 20  # columns at most
_LABEL = 34  # columns at most
_GAP = 2


@dataclass(frozen=True)
class Side:
    run: RunDir
    state: RunState
    values: Mapping[Keys, Any]  # of its config.toml


@dataclass(frozen=True)
class _Row:
    label: str
    left: str
    right: str


def diff_text(left: Side, right: Side, width: int, every_metric: bool, colours: bool) -> str:
    """A block for each subject, at most `width` columns wide; only a long word is wider."""
    names = _names(left, right)
    blocks = {
        "run": list(_outcome(left, right)),
        "typed": [_Row("", _command(left), _command(right))],
        "versions": list(_differing(_versions(left), _versions(right))),
        "configuration": list(_differing(_options(left), _options(right))),
        "metrics": list(_metrics(left, right, every_metric, min(_CURVE, max(0, (width - _LABEL) // 2 - 12)))),
    }
    lines = _Table(names, width, colours).lines(blocks)
    if hint := _git_hint(left, right):
        lines += ["", hint]
    return "\n".join(map(str.rstrip, lines)) + "\n"


class _Table:
    """Labels, and a column for each run. What does not fit beside each other stands one below the other."""

    def __init__(self, names: tuple[str, str], width: int, colours: bool) -> None:
        self._names, self._width, self._colours = names, width, colours

    def lines(self, blocks: Mapping[str, Sequence[_Row]]) -> list[str]:
        labels = [len(row.label) for rows in blocks.values() for row in rows]
        self._label = min(_LABEL, max(labels, default=0))
        self._cell = max(len(self._names[0]), (self._width - self._label - 2 * _GAP - 2) // 2)
        lines = [self._beside("", *self._names)]
        for title, rows in blocks.items():
            lines += ["", painted(title, BOLD, self._colours)]
            lines += [line for row in rows for line in self._row(row)] or ["  the same"]
        return lines

    def _beside(self, label: str, left: str, right: str) -> str:
        return f"  {label:<{self._label}}{' ' * _GAP}{left:<{self._cell}}{' ' * _GAP}{right}"

    def _row(self, row: _Row) -> Iterator[str]:
        left, right = in_one_line(row.left), in_one_line(row.right)
        if max(len(left), len(right)) <= self._cell and len(row.label) <= self._label:
            yield self._beside(in_one_line(row.label), left, right)
            return
        name = max(map(len, self._names))
        yield from [f"  {in_one_line(row.label)}"] if row.label else []
        for whose, text in zip(self._names, (left, right), strict=True):
            yield f"    {whose:<{name}}  {text}"


def _names(left: Side, right: Side) -> tuple[str, str]:
    """The runs' names, or their directories if the names are the same."""
    if left.state.name != right.state.name:
        return left.state.name, right.state.name
    return in_one_line(str(left.run.root)), in_one_line(str(right.run.root))


def _outcome(left: Side, right: Side) -> Iterator[_Row]:
    first, second = (run_status(side.run, side.state) for side in (left, right))
    yield _Row("kind", first.kind, second.kind)
    yield _Row("state", first.state, second.state)
    yield _Row("step", steps_text(first.step, first.max_steps), steps_text(second.step, second.max_steps))
    yield _Row("took", duration(first.duration), duration(second.duration))
    if first.attempt != second.attempt:
        yield _Row("attempt", str(first.attempt), str(second.attempt))
    if first.host != second.host:
        yield _Row("host", first.host, second.host)


def _command(side: Side) -> str:
    argv = side.state.provenance.argv
    return " ".join(["launch", *map(quoted, argv[1:])]) if argv else "-"


def _versions(side: Side) -> dict[str, Any]:
    known = side.state.provenance
    dirty = " and changes" if known.git_dirty else ""
    commit = f"{known.git_commit[:12]}{dirty}" if known.git_commit else None
    return {"git": commit, "Python": known.python or None, **known.packages}


def _options(side: Side) -> dict[str, Any]:
    return {".".join(path): value for path, value in side.values.items()}


def _differing(left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[_Row]:
    for name in dict.fromkeys((*left, *right)):
        ours, theirs = left.get(name), right.get(name)
        if not _same(ours, theirs):
            yield _Row(name, *(_text(masked({name: value})[name]) for value in (ours, theirs)))


def _same(left: Any, right: Any) -> bool:
    """Also of durations, which are numbers or texts."""
    if left == right:
        return True
    durations = [each for each in (left, right) if isinstance(each, str) and each[-1:].isalpha()]
    try:
        return bool(durations) and None not in (left, right) and parse_duration(left) == parse_duration(right)
    except ValueError:
        return False


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _metrics(left: Side, right: Side, every: bool, points: int) -> Iterator[_Row]:
    components = dict.fromkeys(process.name for side in (left, right) for process in side.state.processes)
    for component in components:
        newest = [_newest(side.run, component) for side in (left, right)]
        names = dict.fromkeys((*newest[0], *newest[1]))
        headlines = (*HEADLINES, left.state.progress.metric, right.state.progress.metric)
        for name in names if every else [name for name in names if name in headlines] or names:
            cells = [
                _metric(side, component, name, values.get(name), points)
                for side, values in zip((left, right), newest, strict=True)
            ]
            yield _Row(name if len(components) == 1 else f"{component} {name}", *cells)


def _newest(run: RunDir, component: str) -> dict[str, float]:
    """The newest value of each metric; an evaluation may be older than the last few steps."""
    path = run.metrics(component)
    evaluations = {name: newest[1] for name, (_, newest) in read_evaluations(path).items()}
    return evaluations | newest_values(read_newest(path))


def _metric(side: Side, component: str, name: str, value: float | None, points: int) -> str:
    if value is None:
        return "-"
    curve = sparkline(read_curve(side.run.metrics(component), name, points), points) if points else ""
    return f"{three_digits(value):<7} {curve}".rstrip()


def _git_hint(left: Side, right: Side) -> str | None:
    commits = [side.state.provenance.git_commit for side in (left, right)]
    if None in commits or commits[0] == commits[1]:
        return None
    return f"  what changed in between: git diff {' '.join(quoted(str(commit)[:12]) for commit in commits)}"
