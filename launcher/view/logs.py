"""`launch logs`: all logs of an attempt as one, in time order."""

import os
import re
import select
import sys
import time
from collections.abc import Iterable, Iterator

from launcher.run.jobs import ask_for, known_state
from launcher.run.liveness import GOING_ON, true_state
from launcher.run.state import RunState, read_state
from launcher.rundir import RunDir
from launcher.view.log_lines import LEVELS
from launcher.view.log_merge import merge
from launcher.view.log_reader import LogReader
from launcher.view.log_request import Selection
from launcher.view.log_sources import Source
from launcher.view.terminal import shows_colours

LOOK_EVERY = 0.05  # seconds between two looks at the logs of a run that goes on
ASK_EVERY = 10.0  # seconds between two questions to Slurm about a job that waits
LOOKS = 10  # between two looks for new files and for the run's end

_PALETTE = (b"36", b"35", b"34", b"32", b"33")  # of labels; all of one width, so that keys stand in one column
_LEVEL_COLOURS = {b"WARNING": b"33", b"ERROR": b"31", b"CRITICAL": b"1;31", b"INFO": b"32", b"SUCCESS": b"1;32"}


def show_logs(selection: Selection, *, follow: bool, labels: bool) -> None:
    """Write the logs to stdout, with `follow` until the run has ended; returns early when nobody reads any more."""
    view = LogView(selection, labels=labels, colours=shows_colours())
    life = _Life(selection.run)
    try:
        while follow and life.goes_on():
            _follow(view)
        view.find_logs()
        _write(view.new_lines(final=True))
    except BrokenPipeError:  # typer would make exit code 1 of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class LogView:
    """The logs of a selection, how far they have been shown, and what they look like."""

    def __init__(self, selection: Selection, *, labels: bool, colours: bool) -> None:
        self._selection, self._labels, self._colours = selection, labels, colours
        self._readers: dict[Source, LogReader] = {}

    def find_logs(self) -> None:
        """Look for files that are new."""
        for source in self._selection.sources():
            if source not in self._readers:
                self._readers[source] = LogReader(source, self._selection.wanted)
        if self._labels:
            width = max((len(source.label.encode()) for source in self._readers), default=0)
            for source, reader in self._readers.items():
                reader.label = self._label(source, width)

    def new_lines(self, final: bool) -> Iterator[bytes]:
        """What was added since the last call, as blocks of whole lines."""
        readers = list(self._readers.values())
        width = len(readers[0].label) if readers else 0
        blocks = merge(readers, width, final)
        return (_coloured(block, width) for block in blocks) if self._colours else blocks

    def _label(self, source: Source, width: int) -> bytes:
        text = source.label.encode().ljust(width)
        if not self._colours:
            return text + b" | "
        components = list(dict.fromkeys(known.component for known in self._readers))
        colour = _PALETTE[(components.index(source.component) + (source.rank or 0)) % len(_PALETTE)]
        return b"\x1b[%bm%b\x1b[0m | " % (colour, text)


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
        """Nothing in the run's directory changes when a job is cancelled in the queue: Slurm is asked now and then."""
        if time.monotonic() - self._asked > ASK_EVERY:
            self._is_queued = known_state(self._run, state, ask_for([state])).word in GOING_ON
            self._asked = time.monotonic()
        return self._is_queued


def _follow(view: LogView) -> None:
    """Show what is added, until it is time to look for new files and for the run's end."""
    view.find_logs()
    for _ in range(LOOKS):
        _write(view.new_lines(final=False))
        _wait(LOOK_EVERY)


def _write(blocks: Iterable[bytes]) -> None:
    for block in blocks:
        sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()


def _wait(seconds: float) -> None:
    """Wait, but not for a reader that has gone: `launch logs -f | head -1` ends before there is another line."""
    stdout = select.poll()
    stdout.register(sys.stdout.fileno(), 0)
    if stdout.poll(seconds * 1000):
        raise BrokenPipeError
