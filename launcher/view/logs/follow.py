"""`launch logs`: all logs of an attempt as one, in time order."""

import os
import re
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from launcher.borders.screen import in_one_line
from launcher.jobs.jobs import ask_for, known_state
from launcher.rundir import RunDir
from launcher.runs.liveness import GOING_ON, true_state
from launcher.runs.state import RunState, read_state
from launcher.view.logs.fold import Fold
from launcher.view.logs.likeness import Likeness
from launcher.view.logs.lines import KEY_WIDTH, LEVELS, MARK
from launcher.view.logs.merge import as_block, first_line, in_time_order, merge
from launcher.view.logs.reader import LogReader
from launcher.view.logs.request import Selection
from launcher.view.logs.sources import Source
from launcher.view.pager import paged
from launcher.view.terminal import shows_colours

LOOK_EVERY = 0.05  # seconds between two looks at the logs of a live run
REST = 0.2  # seconds between two looks while it logs nothing
ASK_EVERY = 10.0  # seconds between two questions about a job that waits
FIND_EVERY = 0.5  # seconds between two looks for new files and for the run's end

_PALETTE = (b"36", b"35", b"34", b"32", b"33")  # of labels; all of one width, so that keys are in one column
_BEFORE_MESSAGE = re.compile(rb".{%d}(?: \| [A-Z]+ *\| |%b| )" % (KEY_WIDTH, MARK))
_LEVEL_COLOURS = {b"WARNING": b"33", b"ERROR": b"31", b"CRITICAL": b"1;31", b"INFO": b"32", b"SUCCESS": b"1;32"}


def show_logs(
    selection: Selection,
    *,
    follow: bool,
    labels: bool,
    every_line: bool,
    newest: int | None = None,
    pager: bool = False,
    goes_on: Callable[[], bool] | None = None,
) -> None:
    """Write the logs to stdout, with `follow` until the run ends. Returns early when stdout is closed.

    Args:
        newest: show this many of the lines that are there already.
        pager: on a terminal, show them in the user's pager, unless they are followed.
        goes_on: whether more may come; by default, while the run lives.
    """
    view = LogView(selection, labels=labels, colours=shows_colours(), every_line=every_line)
    goes_on = goes_on or _Life(selection.run).goes_on
    try:
        with paged(pager and not follow):
            look_every = LOOK_EVERY
            while follow and goes_on():
                look_every = LOOK_EVERY if _follow(view, newest, look_every) else REST
                newest = None
            view.find_logs()
            _write(last_lines(view.new_lines(final=True), newest))
            _tell(view)
    except BrokenPipeError:  # typer would make exit code 1 of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def last_lines(blocks: Iterable[bytes], count: int | None) -> Iterable[bytes]:
    """The last lines of the blocks, or all blocks."""
    if count is None:
        return blocks
    lines: deque[bytes] = deque(maxlen=count)
    for block in blocks:
        lines.extend(block.splitlines(keepends=True))
    return [b"".join(lines)]


class LogView:
    """The selected logs, how far they have been shown, and their format."""

    def __init__(
        self,
        selection: Selection,
        *,
        labels: bool,
        colours: bool,
        every_line: bool = False,
        one_line_each: bool = False,
    ) -> None:
        """`every_line`: equal entries of ranks are not folded. `one_line_each`: of an entry, what it says first."""
        self._selection, self._labels, self._colours = selection, labels, colours
        self._every_line, self._one_line_each = every_line, one_line_each
        self._readers: dict[Source, LogReader] = {}
        self._width = 0  # of a label, in bytes
        self._component_labels: dict[str, bytes] = {}  # of what several ranks log alike
        self._fold: Fold | None = None
        self._found_at = self._read_until = time.monotonic()
        self._told: set[Path] = set()

    def find_logs(self) -> None:
        """Look for files that are new. To be called every `FIND_EVERY` seconds: until then, what is held stays so."""
        self._found_at = time.monotonic()
        new = [source for source in self._selection.sources() if source not in self._readers]
        if not new:
            return
        before = {reader: reader.label for reader in self._readers.values()}
        self._readers |= {source: LogReader(source, self._selection.wanted) for source in new}
        folds = not self._every_line and self._selection.has_several_ranks
        if self._labels or folds:  # else nobody has to know whose an entry is
            width = max(len(source.label.encode()) for source in self._readers)
            for source, reader in self._readers.items():
                reader.label = self._label(source.label, source.component, source.rank or 0, width)
        self._width = len(next(iter(self._readers.values())).label)
        self._component_labels.clear()
        fold = self._new_fold() if folds else None
        if fold and self._fold:
            fold.take_over(self._fold, {label: reader.label for reader, label in before.items()})
        self._fold = fold

    def new_lines(self, final: bool) -> Iterator[bytes]:
        """The lines added since the last call, as blocks."""
        now = self._read_until  # a log's newest entry comes with the next call: more of it may be on its way
        self._read_until = min(time.monotonic(), self._found_at + FIND_EVERY)
        for logs, until in merge(list(self._readers.values()), self._width, final):
            if self._fold is None:
                yield self._block(in_time_order(logs, self._width))
            elif final:
                yield self._block(self._fold.add_read(logs, until))
            else:
                yield self._ordered(self._fold.add_new(logs, now))
        if self._fold:
            yield self._ordered(self._fold.end() if final else self._fold.add_new([], now))

    def lines_there(self) -> Iterator[bytes]:
        """All lines that the logs of a live run have by now: none of them is held back until equal ones may come."""
        yield from self.new_lines(final=False)
        if self._fold:
            yield self._ordered(self._fold.end())

    def new_troubles(self) -> list[str]:
        """The files that are not shown, and why; each once."""
        found = {reader.source.path: reader.trouble for reader in self._readers.values() if reader.trouble}
        new = [f"{path} is not shown: {why}" for path, why in found.items() if path not in self._told]
        self._told |= found.keys()
        return new + self._selection.troubles()

    def _ordered(self, entries: list[bytes]) -> bytes:
        return self._block(in_time_order([entries], self._width))

    def _block(self, entries: list[bytes]) -> bytes:
        shown_width = self._width if self._labels else 0
        if self._one_line_each:
            entries = [first_line(entry, self._width) for entry in entries]
        block = as_block(entries, self._width, shown_width)
        return _coloured(block, shown_width) if self._colours else block

    def _new_fold(self) -> Fold:
        ranks = {
            reader.label: (source.component, source.rank)
            for source, reader in self._readers.items()
            if source.rank is not None
        }
        return Fold(Likeness(self._width, ranks, self._shown_once))

    def _shown_once(self, entry: bytes, component: str, ranks: str) -> bytes:
        """The entry of several ranks: its label is the component, and the ranks are before the message."""
        text = entry[self._width :]
        before = _BEFORE_MESSAGE.match(text)
        start = before.end() if before else 0
        return self._component_label(component) + text[:start] + ranks.encode() + b" " + text[start:]

    def _component_label(self, component: str) -> bytes:
        """As wide as those of ranks."""
        if component not in self._component_labels:
            colour_width = len(self._label("", component, 0, 0))
            label = self._label(component, component, 0, self._width - colour_width)
            self._component_labels[component] = label
        return self._component_labels[component]

    def _label(self, text: str, component: str, rank: int, width: int) -> bytes:
        label = in_one_line(text).encode(errors="replace").ljust(width)
        if not self._colours:
            return label + b" | "
        components = list(dict.fromkeys(known.component for known in self._readers))
        colour = _PALETTE[(components.index(component) + rank) % len(_PALETTE)]
        return b"\x1b[%bm%b\x1b[0m | " % (colour, label)


def _coloured(block: bytes, label_width: int) -> bytes:
    """The block with each level in its colour, and the time before it dim."""
    stamp = rb"(?m)^(.{%d})(\d{4}-\d\d-\d\d [\d:.]{12})( \| )(%b)\b" % (label_width, "|".join(LEVELS).encode())

    def paint(found: re.Match[bytes]) -> bytes:
        label, time, bar, level = found.groups()
        return b"%b\x1b[2m%b\x1b[0m%b\x1b[%bm%b\x1b[0m" % (label, time, bar, _LEVEL_COLOURS.get(level, b"2"), level)

    return re.sub(stamp, paint, block)


class _Life:
    """Whether an attempt may still write logs."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._is_queued, self._asked = True, time.monotonic()

    def goes_on(self) -> bool:
        state = read_state(self._run)
        if state is None or state.attempt != self._run.attempt:
            return False
        return self._waits(state) if state.state == "queued" else true_state(self._run, state) in GOING_ON

    def _waits(self, state: RunState) -> bool:
        """A job cancelled in the queue changes no file in the run's directory, so we ask now and then."""
        if time.monotonic() - self._asked > ASK_EVERY:
            self._is_queued = known_state(self._run, state, ask_for([state])).word in GOING_ON
            self._asked = time.monotonic()
        return self._is_queued


def _follow(view: LogView, newest: int | None, look_every: float) -> bool:
    """Show new lines, at first the newest ones, until it is time to look for new files and for the run's end.

    Returns whether there were any.
    """
    end, has_moved = time.monotonic() + FIND_EVERY, False
    view.find_logs()
    if newest is not None:
        _write(last_lines(view.lines_there(), newest))
    while True:
        has_moved |= _write(view.new_lines(final=False)) > 0
        _tell(view)
        _wait(look_every)
        if time.monotonic() >= end:
            return has_moved


def _tell(view: LogView) -> None:
    """Write to stderr, because stdout has the logs."""
    for trouble in view.new_troubles():
        print(in_one_line(f"launch: {trouble}"), file=sys.stderr, flush=True)


def _write(blocks: Iterable[bytes]) -> int:
    """The number of bytes."""
    written = sum(sys.stdout.buffer.write(block) for block in blocks)
    sys.stdout.buffer.flush()
    return written


def _wait(seconds: float) -> None:
    """Wait, but return when the reader is gone: `launch logs -f | head -1` must end before another line comes."""
    stdout = select.poll()
    stdout.register(sys.stdout.fileno(), 0)
    if stdout.poll(seconds * 1000):
        raise BrokenPipeError
