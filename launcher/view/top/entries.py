"""Lines of the merged logs, as `launch logs` finds them, each made to be shown on one row."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from launcher.borders.screen import in_one_line
from launcher.rundir import RunDir
from launcher.runs.state import RunState
from launcher.view.console.short_lines import short_line
from launcher.view.logs.follow import LOOK_EVERY, LogView
from launcher.view.logs.request import LogRequest, select
from launcher.view.terminal import BOLD, CYAN, DIM
from launcher.view.top.grid import style_of

LONGEST = 4000  # characters of a line that is shown
LOOKS = 2
LARGEST = 256 << 20  # bytes of logs that are read though nobody has asked for them


@dataclass(frozen=True)
class Entry:
    whose: str  # "trainer 0"
    text: str

    def line(self) -> Text:
        """The clock, whose it is, a level that is news, and the text."""
        short = short_line(self.text)
        line = Text(f"{short.clock} " if short.clock else "", style=style_of(DIM), no_wrap=True, end="")
        line.append(f"{self.whose} ", style_of(CYAN))
        line.append(f"{short.level} " if short.is_news else "", style_of(f"{BOLD};{short.colour}"))
        line.append(short.text, style_of(short.colour) if short.is_news else "not dim")
        return line


class Entries:
    """The newest entries of an attempt's logs that match, and how far they have been read."""

    def __init__(
        self,
        run: RunDir,
        state: RunState,
        *,
        most: int,
        component: str | None = None,
        rank: int | None = None,
        level: str | None = None,
        grep: str | None = None,
        is_asked_for: bool = False,
        one_line_each: bool = False,
    ) -> None:
        """Raises UserError as `launch logs` does, of a pattern that is none."""
        request = LogRequest(component, () if rank is None else (rank,), None, level, None, grep)
        self.attempt = state.attempt
        self.note = ""
        self._selection = select(run, state, request)
        self._view = LogView(self._selection, labels=True, colours=False, one_line_each=one_line_each)
        self._kept: deque[Entry] = deque(maxlen=most)
        self.count = 0  # of all that were read, kept or not
        self._has_begun = False
        self._is_too_much = not is_asked_for and self._size() > LARGEST
        if self._is_too_much:
            self.note = "the logs are long: / searches them"

    def files(self) -> set[Path]:
        return {source.path for source in self._selection.sources()}

    def _size(self) -> int:
        found = 0
        for path in self.files():
            try:
                found += path.stat().st_size
            except OSError:
                continue
        return found

    def read(self) -> deque[Entry]:
        """Those that there are by now, the newest last."""
        if self._is_too_much:
            return self._kept
        self._view.find_logs()
        self._add(self._view.new_lines(final=False) if self._has_begun else self._view.lines_there())
        for _ in range(LOOKS):  # a log's last entry is complete once nothing was added between two looks
            time.sleep(LOOK_EVERY)
            self._add(self._view.new_lines(final=False))
        self._has_begun = True
        self.note = self.note or next(iter(self._view.new_troubles()), "")
        return self._kept

    def _add(self, blocks: Iterable[bytes]) -> None:
        for block in blocks:
            lines = block.decode(errors="replace").split("\n")[:-1]
            self.count += len(lines)
            self._kept.extend(map(_entry, lines[-(self._kept.maxlen or 0) :]))


def _entry(line: str) -> Entry:
    whose, bar, text = line.partition(" | ")
    return Entry(in_one_line(whose).strip(), in_one_line(text[:LONGEST])) if bar else Entry("", in_one_line(line))
