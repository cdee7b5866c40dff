"""Folds equal entries of several ranks within a second into one entry.

Entries of the last second are held back, because equal ones may still come. Folding comes before sorting: if 64 ranks
log the same, only one line in 64 has to be sorted.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from launcher.view.logs.likeness import WINDOW, Likeness
from launcher.view.logs.read_fold import LARGEST_HELD, ReadFold

SETTLED = 0.8  # seconds; while following, an entry of this age is given out as soon as one of the age WINDOW is


class Fold:
    """Entries that have been read and not given out yet."""

    def __init__(self, like: Likeness) -> None:
        self._like = like
        self._read = ReadFold(like)
        self._entries: list[bytes] = []  # while following, in the order in which they were added
        self._texts: list[bytes] = []  # of each entry
        self._labels: list[bytes] = []  # of each entry
        self._arrived: list[float] = []  # of each entry

    def add_read(self, logs: Iterable[list[bytes]], until: bytes) -> list[bytes]:
        """Add the entries read from some logs, in time order. Entries read after this call are later than `until`.

        Returns the entries that can be given out, in time order.
        """
        if self._entries:
            self._read.take_over(self._entries, self._texts, self._labels)
            self._hold([])
        return self._read.add(logs, until)

    def add_new(self, logs: Iterable[list[bytes]], now: float) -> list[bytes]:
        """Add new entries, logged at `now` in seconds of a monotonic clock.

        Returns the entries that can be given out, in the order in which they were added.
        """
        self._add(logs, now)
        if self._arrived and self._arrived[0] <= now - WINDOW:
            return self._give_out(bisect_right(self._arrived, now - SETTLED))
        return []

    def end(self) -> list[bytes]:
        """All entries that are held."""
        return [*self._read.end(), *self._give_out(len(self._entries))]

    def take_over(self, other: "Fold", labels: Mapping[bytes, bytes]) -> None:
        """Take over the held entries of another fold, with new labels."""
        for label, entry, arrived in zip(other._labels, other._entries, other._arrived, strict=True):
            self._add([[labels[label] + entry[len(label) :]]], arrived)

    @property
    def holds(self) -> bool:
        """Whether anything is held."""
        return bool(self._entries) or self._read.holds

    def _add(self, logs: Iterable[list[bytes]], now: float) -> None:
        for entries in filter(None, logs):
            self._entries += entries
            self._texts += self._like.texts_of(entries)
            self._labels += [self._like.label(entries[0])] * len(entries)
            self._arrived += [now] * len(entries)

    def _give_out(self, arrived: int) -> list[bytes]:
        """The first `arrived` entries, and all that are equal to one of them."""
        shown: list[tuple[int, bytes]] = []
        held: list[int] = []
        for first, unit, whose in self._like.units(self._entries, self._texts, self._labels):
            if unit[0] < arrived:
                shown.append((unit[0], self._like.shown(self._entries[first], whose)))
            else:
                held += unit
        self._hold(sorted(held))
        given = [entry for _, entry in sorted(shown)]
        return given + self.end() if sum(map(len, self._entries)) > LARGEST_HELD else given

    def _hold(self, indices: Sequence[int]) -> None:
        self._entries = [self._entries[index] for index in indices]
        self._texts = [self._texts[index] for index in indices]
        self._labels = [self._labels[index] for index in indices]
        self._arrived = [self._arrived[index] for index in indices]
