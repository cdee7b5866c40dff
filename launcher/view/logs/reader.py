"""Reads one log block by block, as entries: a line with a time, and the lines below it that have none.

An entry begins with its key. If the line itself does not, the key and MARK are put before it. Within an entry, a line
ends with INNER_END. After the merge, the key is removed again, and INNER_END becomes the end of a line.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from launcher.borders.growing_file import GrowingFile
from launcher.view.clocks import key_of_clock
from launcher.view.logs.lines import (
    INNER_END,
    KEY_WIDTH,
    LEVELS,
    MARK,
    TRACEBACK,
    clean,
    clock_of,
    has_stamp,
    key_at,
    key_of,
    level_of,
    plain_entries,
)
from launcher.view.logs.long_lines import LongLines
from launcher.view.logs.rank_lines import RankLines
from launcher.view.logs.sources import Source

BLOCK = 32 * 1024  # bytes read at once
LARGEST_ENTRY = 1 << 20  # bytes; a longer one may be shown in parts


@dataclass(frozen=True)
class EntryFilter:
    """Which entries are shown. By default, all."""

    level: int = 0
    since: bytes = b""  # a key
    text: re.Pattern[bytes] | None = None

    @property
    def is_all(self) -> bool:
        return not (self.level or self.since or self.text)

    def __call__(self, key: bytes, entry: bytes, level: int) -> bool:
        """Whether to show the entry. `level` is used if the entry names none."""
        if key < self.since or (self.level and level_of(entry, level) < self.level):
            return False
        return self.text is None or self.text.search(entry) is not None


class LogReader:
    """A log and how far it has been read. The file need not exist yet, and may be truncated, replaced or deleted."""

    def __init__(self, source: Source, wanted: EntryFilter) -> None:
        self.source, self.wanted = source, wanted
        self.label = b""  # put before each entry; all logs that are merged have labels of one width
        self._level = LEVELS["ERROR" if source.is_stderr else "INFO"]  # stderr may say why it died
        self._file = GrowingFile(source.path, source.bounds)
        self._rest = b""  # read, but perhaps incomplete
        self._long_lines = LongLines(source.path)
        if source.part:
            self._rank_lines = RankLines(source.part.role, source.part.shown)
        self._is_quiet = False
        self._key = b""  # of the last line with a time
        self._is_shown = True  # whether the last entry was shown

    @property
    def trouble(self) -> str | None:
        """Why the log is not shown."""
        return self._file.trouble

    def next_entries(self, final: bool) -> list[bytes] | None:
        """The next entries to show, each after `label`. None if nothing was added.

        The last entry is held back until nothing was added between two calls, because more lines of it may come.
        `final` says that none will.
        """
        block = self._of_part(self._next_block(final), final)
        if block is None:
            return None
        plain = plain_entries(block, self.label if self.wanted.is_all else b"")
        if plain is not None:
            return self._plain(plain)
        lines = clean(block).split(b"\n")[:-1]
        return [self._labelled(key, entry) for key, entry in self._entries(lines) if self._is_wanted(key, entry)]

    # --- blocks ---

    def _of_part(self, block: bytes | None, final: bool) -> bytes | None:
        """The lines of the source's part, from a console that has the lines of several ranks."""
        part = self.source.part
        if part is None or (block is None and not final):
            return block
        lines = self._rank_lines.end() if block is None else self._rank_lines.add(block)
        found = b"".join(text + b"\n" for rank, text in lines if rank == part.rank)
        return found if found or block is not None else None

    def _next_block(self, final: bool) -> bytes | None:
        """Whole lines, and whole entries if possible."""
        added = self._read(max(BLOCK, len(self._rest)))
        data = self._rest + (self._long_lines.add(added) if added or not final else self._long_lines.end())
        was_quiet, self._is_quiet = self._is_quiet, not added
        if added:
            cut = self._last_entry(data)
        elif final or was_quiet:
            cut = len(data) if final else data.rfind(b"\n") + 1
        else:
            cut = 0
        if not added and not cut:
            return None
        block, self._rest = data[:cut], data[cut:]
        return block if block.endswith(b"\n") or not block else block + b"\n"

    def _read(self, size: int) -> bytes:
        block, _, is_anew = self._file.added(size)
        if is_anew:
            self._rest, self._long_lines = b"", LongLines(self.source.path)
        return block

    def _last_entry(self, data: bytes) -> int:
        """Where the last entry begins. If no line has a time, or the entry is too large: where the last line ends."""
        end = start = data.rfind(b"\n") + 1
        while start > 0 and end - start < LARGEST_ENTRY:
            start = data.rfind(b"\n", 0, start - 1) + 1
            if has_stamp(data, start):
                return start
        return end

    # --- entries ---

    def _plain(self, entries: list[bytes]) -> list[bytes]:
        """The entries to show, from a block in which each line is an entry with its key."""
        if self.wanted.is_all:
            self._key = entries[-1][len(self.label) :][:KEY_WIDTH]
            return entries
        before, self._key = self._key, entries[-1][:KEY_WIDTH]
        if max(before, self._key) < self.wanted.since:
            entries.clear()
        last = entries[-1:]
        entries = [entry for entry in entries if self.wanted(entry[:KEY_WIDTH], entry, self._level)]
        self._is_shown = entries[-1:] == last != []
        return [self.label + entry for entry in entries]

    def _entries(self, lines: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """(key, text) of each entry in a block of any form."""
        year = time.localtime(self._file.changed).tm_year
        stamps = list(self._stamps(lines, year))
        # Lines before the first time get that time. In a log without any time, they get that of its last change.
        early = next(filter(None, stamps), key_at(self._file.changed))
        entry: list[bytes] = []
        for line, stamp in zip(lines, stamps, strict=True):
            if entry and not self._continues(entry, line, stamp):
                yield self._key or early, b"\n".join(entry)
                entry = []
            entry.append(line)
            self._key = stamp or self._key
        if entry:
            yield self._key or early, b"\n".join(entry)

    def _stamps(self, lines: list[bytes], year: int) -> Iterator[bytes | None]:
        """Each line's key, None for a line without a time."""
        last = self._key
        for line in lines:
            stamp = key_of(line, year)
            if stamp is None and (clock := clock_of(line)):
                stamp = key_of_clock(clock, last, self.source.begun, self._file.changed)
            last = stamp or last
            yield stamp

    def _continues(self, entry: list[bytes], line: bytes, stamp: bytes | None) -> bool:
        """Whether the line belongs to the entry. In a log without times: indented lines, and the end of a traceback."""
        if stamp or self._key:
            return stamp is None
        return line[:1].isspace() or (entry[-1][:1].isspace() and entry[0].startswith(b"Traceback"))

    def _is_wanted(self, key: bytes, entry: bytes) -> bool:
        if self.wanted.is_all:
            return True
        is_rest = self._key != b"" and not has_stamp(
            entry, 0
        )  # the rest of an entry that was too large, or came in parts
        if not is_rest or TRACEBACK in entry:
            self._is_shown = (is_rest and self._is_shown) or self.wanted(key, entry, self._level)
        return self._is_shown

    def _labelled(self, key: bytes, entry: bytes) -> bytes:
        mark = b"" if entry.startswith(key) else key + MARK
        return self.label + mark + entry.replace(b"\n", INNER_END)
