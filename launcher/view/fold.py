"""Folds what several ranks log alike within a second into one entry.

An entry is what `launcher.view.log_reader` gives: a label of fixed width, a key, and the text. What may still meet its
like is held back: the entries of the last second. Folding comes before sorting: of 64 ranks that log alike, one line in
64 has to be sorted.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import count, groupby
from operator import itemgetter

from launcher.view.log_lines import KEY_WIDTH, MARK, without_stamp

WINDOW = 1  # seconds
SETTLED = 0.8  # seconds; while following, what is as old is given out together with what is as old as WINDOW
LARGEST_HELD = 4 << 20  # bytes; with more nothing is held back, so that memory stays bounded

Whose = tuple[str, str]
"""(component, "[ranks 0-3]")."""

Unit = tuple[int, list[int], Whose | None]
"""(the earliest, all in the order in which they came, whose they are if they are several), by their indices."""


class Fold:
    """Entries that have been read and not given out yet.

    `ranks` has for the label of each rank its component and number; entries with other labels are never folded.
    `show` makes the entry that stands for several, of the first one, the component and "[ranks 0-3]".
    """

    def __init__(
        self,
        label_width: int,
        ranks: Mapping[bytes, tuple[str, int]],
        show: Callable[[bytes, str, str], bytes],
    ) -> None:
        self._ranks, self._show = ranks, show
        self._label = itemgetter(slice(0, label_width))
        self._key = itemgetter(slice(label_width, label_width + KEY_WIDTH))
        self._text = itemgetter(slice(label_width + KEY_WIDTH, None))
        self._whose = lru_cache(1024)(self._find_whose)
        self._entries: list[bytes] = []
        self._texts: list[bytes] = []  # of each entry, what has to be alike
        self._labels: list[bytes] = []  # of each entry
        self._arrived: list[float] = []  # of each entry, while following
        self._were_held = 0
        self._has_folded = False
        self._unique = count()

    def add_read(self, logs: Iterable[list[bytes]], until: bytes) -> list[bytes]:
        """Add what was read of each of some logs, in time order; what is read later is later than `until`.

        Returns the entries that can be given out, in time order.
        """
        self._add(logs)
        if len(self._entries) < 4 * self._were_held:  # not again and again, in a flood of which all is held
            return []
        return self._give_out(until=moved(until, -WINDOW))

    def add_new(self, logs: Iterable[list[bytes]], now: float) -> list[bytes]:
        """Add what has just been logged, at `now` in seconds of a clock that never goes back.

        Returns the entries that can be given out, in the order in which they were added.
        """
        self._add(logs)
        self._arrived += [now] * (len(self._entries) - len(self._arrived))
        if self._arrived and self._arrived[0] <= now - WINDOW:
            return self._give_out(arrived=bisect_right(self._arrived, now - SETTLED))
        return []

    def end(self) -> list[bytes]:
        """All that is held."""
        return self._give_out(arrived=len(self._entries))

    def take_over(self, other: "Fold", labels: Mapping[bytes, bytes]) -> None:
        """Hold what another one has held, whose labels were others."""
        entries = [
            labels[label] + entry[len(label) :] for label, entry in zip(other._labels, other._entries, strict=True)
        ]
        self._add([entry] for entry in entries)
        self._arrived = list(other._arrived)

    @property
    def holds(self) -> bool:
        """Whether anything is held."""
        return bool(self._entries)

    def _add(self, logs: Iterable[list[bytes]]) -> None:
        for entries in filter(None, logs):
            self._entries += entries
            self._texts += self._texts_of(entries)
            self._labels += [self._label(entries[0])] * len(entries)

    def _texts_of(self, entries: list[bytes]) -> list[bytes]:
        texts = list(map(self._text, entries))
        if texts and min(texts)[:1] == MARK:  # which sorts before all others
            texts = [without_stamp(text[1:]) if text[:1] == MARK else text for text in texts]
            return [text or b"%b%d" % (MARK, next(self._unique)) for text in texts]
        return texts

    # --- giving out ---

    def _give_out(self, until: bytes | None = None, arrived: int = 0) -> list[bytes]:
        """What began not later than `until`, or is among the first that have arrived, and all that is like it."""
        groups = self._groups()
        self._has_folded = bool(groups)
        shown = self._folded(groups, until, arrived) if groups else self._unlike(until, arrived)
        if sum(map(len, self._entries)) > LARGEST_HELD:
            shown += self.end()
        self._were_held = len(self._entries)
        if until is not None:
            shown.sort(key=self._key)
        return shown

    def _unlike(self, until: bytes | None, arrived: int) -> list[bytes]:
        """The same, as fast as it can be, where no two entries are alike."""
        if until is not None:
            self._entries.sort(key=self._key)
            arrived = bisect_right(self._entries, until, key=self._key)
        shown, self._entries = self._entries[:arrived], self._entries[arrived:]
        del self._arrived[:arrived]
        self._texts, self._labels = self._texts_of(self._entries), list(map(self._label, self._entries))
        return shown

    def _folded(self, groups: Iterable[list[int]], until: bytes | None, arrived: int) -> list[bytes]:
        keys = list(map(self._key, self._entries))
        shown: list[tuple[int, bytes]] = []
        held: list[int] = []
        for first, unit, whose in (unit for group in groups for unit in self._units(group, keys)):
            if keys[first] <= until if until is not None else unit[0] < arrived:
                entry = self._entries[first]
                shown.append((unit[0], self._show(entry, *whose) if whose else entry))
            else:
                held += unit
        self._hold(sorted(held))
        return [entry for _, entry in sorted(shown)]

    def _groups(self) -> list[list[int]]:
        """The entries by their text, as indices; empty if each text is there once."""
        if not self._has_folded and len(set(self._texts)) == len(self._texts):
            return []
        groups: defaultdict[bytes, list[int]] = defaultdict(list)
        for index, text in enumerate(self._texts):
            groups[text].append(index)
        return list(groups.values()) if len(groups) < len(self._texts) else []

    def _units(self, group: list[int], keys: list[bytes]) -> list[Unit]:
        """The entries of one text, those together that are shown as one."""
        if len(group) == 1:
            return [(group[0], group, None)]
        pick = itemgetter(*group)
        labels, times = frozenset(pick(self._labels)), pick(keys)
        earliest = min(times)
        if len(labels) == len(group) and (whose := self._whose(labels)) and max(times) <= moved(earliest, WINDOW):
            return [(group[times.index(earliest)], group, whose)]
        units = self._units_in_time_order(sorted(group, key=keys.__getitem__), keys)
        return [(unit[0], sorted(unit), self._whose_of(unit)) for unit in units]

    def _units_in_time_order(self, group: list[int], keys: list[bytes]) -> list[list[int]]:
        """What a rank says for the n-th time goes with what another says for the n-th time, if that is not long ago."""
        units: list[list[int]] = []
        by_component: defaultdict[str, list[list[int]]] = defaultdict(list)
        next_of: dict[bytes, int] = {}  # where each rank's next entry may belong to
        for index in group:
            label = self._labels[index]
            if label not in self._ranks:
                units.append([index])
                continue
            mine, at = by_component[self._ranks[label][0]], next_of.get(label, 0)
            while at < len(mine) and keys[index] > moved(keys[mine[at][0]], WINDOW):
                at += 1
            if at == len(mine):
                mine.append([])
            mine[at].append(index)
            next_of[label] = at + 1
        return units + [unit for mine in by_component.values() for unit in mine]

    def _whose_of(self, unit: list[int]) -> Whose | None:
        return self._whose(frozenset([self._labels[index] for index in unit])) if len(unit) > 1 else None

    def _find_whose(self, labels: frozenset[bytes]) -> Whose | None:
        """(component, "[ranks 0-3]") if these are ranks of one component."""
        found = [self._ranks.get(label) for label in labels]
        ranks = [rank for rank in found if rank]
        components = {component for component, _ in ranks}
        if len(ranks) < len(found) or len(components) != 1:
            return None
        return components.pop(), f"[ranks {rank_list([number for _, number in ranks])}]"

    def _hold(self, indices: Sequence[int]) -> None:
        self._entries = [self._entries[index] for index in indices]
        self._texts = [self._texts[index] for index in indices]
        self._labels = [self._labels[index] for index in indices]
        self._arrived = [self._arrived[index] for index in indices] if self._arrived else []


def rank_list(ranks: Iterable[int]) -> str:
    """ "0-3,7"."""
    runs = groupby(enumerate(sorted(ranks)), lambda pair: pair[1] - pair[0])
    ends = [(members[0][1], members[-1][1]) for members in (list(run) for _, run in runs)]
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ends)


def moved(key: bytes, seconds: int) -> bytes:
    """The key of a moment before or after."""
    return _moved(key[:19], seconds) + key[19:]


@lru_cache(256)
def _moved(whole: bytes, seconds: int) -> bytes:
    try:
        return (datetime.fromisoformat(whole.decode()) + timedelta(seconds=seconds)).isoformat(" ").encode()
    except (ValueError, OverflowError):  # what only looks like a time
        return whole
