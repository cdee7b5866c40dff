"""Folds entries of logs that already exist, hundreds of thousands of lines a second.

It looks at single lines only if it has to. If all lines of the ranks are alike, comparing whole lists shows it; if no
two are, a set of all texts does.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from launcher.view.logs.likeness import WINDOW, Likeness, moved

LARGEST_HELD = 4 << 20  # bytes; above this, everything is given out, so that memory stays bounded


class ReadFold:
    """Entries that have been read and not given out yet."""

    def __init__(self, like: Likeness) -> None:
        self._like = like
        self._logs: dict[bytes, _Log] = {}  # by label
        self._were_held = 0
        self._mixed: set[str] = set()  # components of which some lines were alike and others not

    def add(self, logs: Iterable[list[bytes]], until: bytes) -> list[bytes]:
        """Add the entries read from some logs, in time order. Entries read after this call are later than `until`.

        Returns the entries that can be given out, in time order.
        """
        self._add(logs)
        if self._size < 4 * self._were_held:  # do not try at each call while a flood is held
            return []
        shown = self._give_out(moved(until, -WINDOW))
        if sum(sum(map(len, log.entries)) for log in self._logs.values()) > LARGEST_HELD:
            shown += self.end()
        self._were_held = self._size
        shown.sort(key=self._like.key)
        return shown

    def end(self) -> list[bytes]:
        """All entries that are held."""
        return self._give_out(None)

    def take_over(self, entries: Sequence[bytes], texts: Sequence[bytes], labels: Sequence[bytes]) -> None:
        """Hold these entries, with their texts and labels."""
        for entry, text, label in zip(entries, texts, labels, strict=True):
            log = self._log(label)
            log.entries.append(entry)
            log.texts.append(text)

    @property
    def holds(self) -> bool:
        """Whether anything is held."""
        return self._size > 0

    @property
    def _size(self) -> int:
        return sum(len(log.entries) for log in self._logs.values())

    def _log(self, label: bytes) -> "_Log":
        return self._logs.setdefault(label, _Log(label))

    def _add(self, logs: Iterable[list[bytes]]) -> None:
        added: set[bytes] = set()
        for entries in filter(None, logs):
            label = self._like.label(entries[0])
            log = self._log(label)
            log.entries += entries
            if label in added:  # a rank's stderr beside its stdout
                log.entries.sort(key=self._like.key)
                log.texts.clear()
            log.texts += self._like.texts_of(log.entries[len(log.texts) :])
            added.add(label)

    # --- giving out ---

    def _give_out(self, until: bytes | None) -> list[bytes]:
        """The entries up to `until`, and later ones that are like them. All entries for None."""
        shown: list[bytes] = []
        for component, logs in self._by_component().items():
            counts = [len(log.entries) if until is None else log.count(until, self._like.key) for log in logs]
            alike = self._all_alike(logs, max(counts))
            if alike is not None:
                shown += alike
                self._mixed.discard(component)
            elif component is None or self._none_alike(component, logs):
                for log, count in zip(logs, counts, strict=True):
                    shown += log.take(count)
            else:
                shown += self._folded(logs, until)
                self._mixed.add(component)
        return shown

    def _by_component(self) -> dict[str | None, list["_Log"]]:
        """The logs with entries. Those that are not a rank's are never folded, and are listed under None."""
        logs: dict[str | None, list[_Log]] = {}
        for log in self._logs.values():
            if log.entries:
                component, _ = self._like.ranks.get(log.label, (None, 0))
                logs.setdefault(component, []).append(log)
        return logs

    def _all_alike(self, logs: Sequence["_Log"], count: int) -> list[bytes] | None:
        """The first `count` entries of each log as one, if they are alike on all ranks. Otherwise None."""
        texts = logs[0].texts[:count]
        whose = self._like.whose(frozenset([log.label for log in logs]))
        if len(logs) < 2 or len(texts) < count or whose is None or any(log.texts[:count] != texts for log in logs):
            return None
        keys = [list(map(self._like.key, log.entries[:count])) for log in logs]
        earliest, latest = list(map(min, *keys)), map(max, *keys)
        if any(last > moved(key, WINDOW) for key, last in zip(earliest, latest, strict=True)):
            return None
        logs_entries = [log.take(count) for log in logs]
        first = [row.index(key) for key, row in zip(earliest, zip(*keys, strict=True), strict=True)]
        return [self._like.shown(logs_entries[log][index], whose) for index, log in enumerate(first)]

    def _none_alike(self, component: str, logs: Sequence["_Log"]) -> bool:
        """Whether no text occurs twice. Not checked, since it takes time, if the component's last lines were mixed."""
        if len(logs) < 2 or component in self._mixed:
            return len(logs) < 2
        return len(set().union(*(log.texts for log in logs))) == sum(len(log.texts) for log in logs)

    def _folded(self, logs: Sequence["_Log"], until: bytes | None) -> list[bytes]:
        entries = [entry for log in logs for entry in log.entries]
        texts = [text for log in logs for text in log.texts]
        labels = [log.label for log in logs for _ in log.entries]
        shown: list[tuple[int, bytes]] = []
        held: list[int] = []
        for first, unit, whose in self._like.units(entries, texts, labels):
            if until is None or self._like.key(entries[first]) <= until:
                shown.append((unit[0], self._like.shown(entries[first], whose)))
            else:
                held += unit
        for log in logs:
            log.clear()
        held.sort()
        self.take_over([entries[index] for index in held], [texts[i] for i in held], [labels[i] for i in held])
        return [entry for _, entry in sorted(shown)]


class _Log:
    """The entries of one label that are held, and their texts."""

    def __init__(self, label: bytes) -> None:
        self.label = label
        self.entries: list[bytes] = []
        self.texts: list[bytes] = []

    def take(self, count: int) -> list[bytes]:
        taken, self.entries, self.texts = self.entries[:count], self.entries[count:], self.texts[count:]
        return taken

    def count(self, until: bytes, key: Callable[[bytes], bytes]) -> int:
        """The number of entries up to `until`."""
        return bisect_right(self.entries, until, key=key)

    def clear(self) -> None:
        self.take(len(self.entries))
