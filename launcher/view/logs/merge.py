"""Merges logs by time, in bounded memory: only a few entries of each log are held.

A batch is everything up to the time at which the first of these pieces ends, sorted by key. The log whose piece that is
gives all it has and is read on, so a clock that goes back can put lines out of order and never stop the merge.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

from launcher.view.logs.lines import INNER_END, KEY_WIDTH, LEVELS, MARK, TRACEBACK, level_of
from launcher.view.logs.reader import LogReader

HELD = 256  # entries of each log: enough that a batch is worth sorting, few enough to stay in the processor's cache

Key = Callable[[bytes], bytes]


def merge(readers: Sequence[LogReader], label_width: int, final: bool) -> Iterator[tuple[list[list[bytes]], bytes]]:
    """(entries of each log, until when) of what the logs have that was not read yet. `label_width` is in bytes.

    `final` says that nothing will be added to them, so that a last line without an end is one too.
    """
    key: Key = itemgetter(slice(label_width, label_width + KEY_WIDTH))
    waiting = [_Waiting(reader, key, final) for reader in readers]
    while waiting := [log for log in waiting if log.fill()]:
        until = min(log.last for log in waiting)
        yield [log.take(until) for log in waiting], until


def in_time_order(logs: Sequence[list[bytes]], label_width: int) -> list[bytes]:
    """The entries of all logs."""
    entries = [entry for log in logs for entry in log]
    entries.sort(key=itemgetter(slice(label_width, label_width + KEY_WIDTH)))
    return entries


def as_block(entries: list[bytes], label_width: int, shown_width: int) -> bytes:
    """The entries as text. `shown_width` is that of the label where it is shown before each line, else 0."""
    if shown_width < label_width:
        entries = [entry[label_width:] for entry in entries]
    block = b"\n".join([*entries, b""])
    if MARK not in block and INNER_END not in block:
        return block
    return b"\n".join([*(_as_lines(entry, shown_width) for entry in entries), b""])


def first_line(entry: bytes, label_width: int) -> bytes:
    """The entry's first line; if only a traceback below it makes it an error, the exception."""
    if INNER_END not in entry:
        return entry
    label, text = entry[:label_width], entry[label_width:]
    lines = (text[KEY_WIDTH + 1 :] if text[KEY_WIDTH : KEY_WIDTH + 1] == MARK else text).split(INNER_END)
    if TRACEBACK in text and (TRACEBACK in lines[0] or level_of(lines[0], 0) < LEVELS["WARNING"]):
        return label + _exception(lines)
    return label + lines[0]


def _exception(lines: list[bytes]) -> bytes:
    """What the last traceback ends with."""
    begin = max(number for number, line in enumerate(lines) if TRACEBACK in line)
    below = [line for line in lines[begin:] if line.strip()]
    return next((line for line in below[1:] if not line[:1].isspace()), below[-1])


def _as_lines(entry: bytes, label_width: int) -> bytes:
    label, text = entry[:label_width], entry[label_width:]
    if text[KEY_WIDTH : KEY_WIDTH + 1] == MARK:
        text = text[KEY_WIDTH + 1 :]
    return label + text.replace(INNER_END, b"\n" + label)


class _Waiting:
    """The entries of one log that were read but not given out yet; `last` is the time of the last one."""

    def __init__(self, reader: LogReader, key: Key, final: bool) -> None:
        self._reader, self._key, self._final = reader, key, final
        self._entries: list[bytes] = []
        self.last = b""

    def fill(self) -> bool:
        """Read on if little is left; returns whether there is something then."""
        while len(self._entries) < HELD:
            read = self._reader.next_entries(self._final)
            if read is None:
                break
            if read:
                self._entries += read
                self.last = self._key(read[-1])
        return bool(self._entries)

    def take(self, until: bytes) -> list[bytes]:
        """The entries that are not later."""
        cut = len(self._entries) if self.last <= until else bisect_right(self._entries, until, key=self._key)
        taken, self._entries = self._entries[:cut], self._entries[cut:]
        return taken
