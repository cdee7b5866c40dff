"""Finds entries that are alike on several ranks, so that one line can be shown for all of them.

An entry comes from `launcher.view.logs.reader`: a label of fixed width, a key (its time), and the text. Entries are
alike if their texts are equal and their keys are within a second of each other.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import count, groupby
from operator import itemgetter

from launcher.view.logs.lines import KEY_WIDTH, MARK, without_stamp

WINDOW = 1  # seconds

Whose = tuple[str, str]
"""(component, "[ranks 0-3]")."""

Unit = tuple[int, list[int], Whose | None]
"""Entries that are shown as one, by index: (the earliest, all in their order, whose they are if there are several)."""


class Likeness:
    """`ranks` maps each rank's label to its component and number. An entry with another label is like no other.

    `show` makes the entry that is shown for several, from the first of them, the component and "[ranks 0-3]".
    """

    def __init__(
        self,
        label_width: int,
        ranks: Mapping[bytes, tuple[str, int]],
        show: Callable[[bytes, str, str], bytes],
    ) -> None:
        self.ranks, self._show = ranks, show
        self.label = itemgetter(slice(0, label_width))
        self.key = itemgetter(slice(label_width, label_width + KEY_WIDTH))
        self._text = itemgetter(slice(label_width + KEY_WIDTH, None))
        self.whose = lru_cache(1024)(self._find_whose)
        self._unique = count()

    def texts_of(self, entries: list[bytes]) -> list[bytes]:
        """The part of each entry that is compared."""
        texts = list(map(self._text, entries))
        if texts and min(texts)[:1] == MARK:  # MARK sorts before everything else
            texts = [without_stamp(text[1:]) if text[:1] == MARK else text for text in texts]
            return [text or b"%b%d" % (MARK, next(self._unique)) for text in texts]
        return texts

    def shown(self, entry: bytes, whose: Whose | None) -> bytes:
        """The entry as it is shown, for itself or for those of several ranks of which it is the first."""
        return self._show(entry, *whose) if whose else entry

    def units(self, entries: Sequence[bytes], texts: Sequence[bytes], labels: Sequence[bytes]) -> list[Unit]:
        """Group all entries into units."""
        keys = list(map(self.key, entries))
        groups: defaultdict[bytes, list[int]] = defaultdict(list)
        for index, text in enumerate(texts):
            groups[text].append(index)
        return [unit for group in groups.values() for unit in self._units(group, labels, keys)]

    def _units(self, group: list[int], labels: Sequence[bytes], keys: Sequence[bytes]) -> list[Unit]:
        """Group the entries that have one text."""
        if len(group) == 1:
            return [(group[0], group, None)]
        pick = itemgetter(*group)
        whose_all, times = frozenset(pick(labels)), pick(keys)
        earliest = min(times)
        if len(whose_all) == len(group) and (whose := self.whose(whose_all)) and max(times) <= moved(earliest, WINDOW):
            return [(group[times.index(earliest)], group, whose)]
        units = self._units_in_time_order(sorted(group, key=keys.__getitem__), labels, keys)
        return [(unit[0], sorted(unit), self._whose_of(unit, labels)) for unit in units]

    def _units_in_time_order(self, group: list[int], labels: Sequence[bytes], keys: Sequence[bytes]) -> list[list[int]]:
        """A rank's n-th entry belongs to the n-th entry of the other ranks, unless too much time is between them."""
        units: list[list[int]] = []
        by_component: defaultdict[str, list[list[int]]] = defaultdict(list)
        next_of: dict[bytes, int] = {}  # the first unit that each rank's next entry may belong to
        for index in group:
            label = labels[index]
            if label not in self.ranks:
                units.append([index])
                continue
            mine, at = by_component[self.ranks[label][0]], next_of.get(label, 0)
            while at < len(mine) and keys[index] > moved(keys[mine[at][0]], WINDOW):
                at += 1
            if at == len(mine):
                mine.append([])
            mine[at].append(index)
            next_of[label] = at + 1
        return units + [unit for mine in by_component.values() for unit in mine]

    def _whose_of(self, unit: list[int], labels: Sequence[bytes]) -> Whose | None:
        return self.whose(frozenset([labels[index] for index in unit])) if len(unit) > 1 else None

    def _find_whose(self, labels: frozenset[bytes]) -> Whose | None:
        """(component, "[ranks 0-3]") if these are ranks of one component."""
        found = [self.ranks.get(label) for label in labels]
        ranks = [rank for rank in found if rank]
        components = {component for component, _ in ranks}
        if len(ranks) < len(found) or len(components) != 1:
            return None
        return components.pop(), f"[ranks {rank_list([number for _, number in ranks])}]"


def rank_list(ranks: Iterable[int]) -> str:
    """ "0-3,7"."""
    runs = groupby(enumerate(sorted(ranks)), lambda pair: pair[1] - pair[0])
    ends = [(members[0][1], members[-1][1]) for members in (list(run) for _, run in runs)]
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ends)


def moved(key: bytes, seconds: int) -> bytes:
    """The key moved by some seconds, forwards or backwards."""
    return _moved(key[:19], seconds) + key[19:]


@lru_cache(256)
def _moved(whole: bytes, seconds: int) -> bytes:
    try:
        return (datetime.fromisoformat(whole.decode()) + timedelta(seconds=seconds)).isoformat(" ").encode()
    except (ValueError, OverflowError):  # it only looks like a time
        return whole
