"""What is added to the log that the console follows: whole lines, and what several ranks log alike only once."""

import time

from launcher.borders.growing_file import GrowingFile
from launcher.borders.screen import printable
from launcher.plan.spec import ProcessSpec
from launcher.view.logs.fold import Fold
from launcher.view.logs.likeness import Likeness
from launcher.view.logs.lines import KEY_WIDTH, MARK, key_at, key_of
from launcher.view.logs.rank_lines import Line, RankLines

LARGEST_BACKLOG = 1 << 18  # bytes; a console is for reading, and a flood is in the file
_LABEL = b"%06d"  # of a local rank, for the fold
_LABEL_WIDTH = 6


class FollowedLog:
    """Reads a component's log. Lines of several ranks are held for a second, and shown once if others log the same."""

    def __init__(self, spec: ProcessSpec, every_line: bool = False) -> None:
        self._file = GrowingFile(spec.log)
        self._rest = b""
        self._role, shown = ("", ()) if spec.ranks is None else (spec.ranks.role, spec.ranks.shown)
        self._ranks = RankLines(self._role, shown) if shown else None
        like = Likeness(_LABEL_WIDTH, {_LABEL % rank: (spec.name, rank) for rank in shown}, self._shown_once)
        self._fold = Fold(like) if len(shown) > 1 and not every_line else None

    def new_lines(self, closing: bool) -> list[str]:
        """The lines to show now; with `closing` all that are left."""
        lines = self._new_lines(closing)
        if self._fold is None:
            return [self._text(*line) for line in lines]
        now, year = time.monotonic(), time.localtime().tm_year
        entries = self._fold.add_new(([_entry(*line, year)] for line in lines), now)
        if closing:
            entries += self._fold.end()
        return [self._text_of(entry) for entry in entries]

    @property
    def holds(self) -> bool:
        """Whether there are lines that are shown soon."""
        return self._fold is not None and self._fold.holds

    def _new_lines(self, closing: bool) -> list[Line]:
        data = self._rest + self._added()
        end = len(data) if closing or len(data) > 2 * LARGEST_BACKLOG else data.rfind(b"\n") + 1
        block, self._rest = data[:end], data[end:]
        if self._ranks is None:
            return [(None, line) for line in block.removesuffix(b"\n").split(b"\n")] if block else []
        return [*self._ranks.add(block), *(self._ranks.end() if closing else ())]

    def _added(self) -> bytes:
        block, skipped, _ = self._file.added(LARGEST_BACKLOG, newest=True)
        note = f"\n... {skipped} bytes are left out here, they are in {self._file.path}\n" if skipped else ""
        return note.encode(errors="backslashreplace") + block

    def _text(self, rank: int | None, line: bytes) -> str:
        mark = "" if rank is None else f"[{self._role}{rank}]:"
        return mark + printable(line.decode(errors="replace"))

    def _shown_once(self, entry: bytes, _: str, ranks: str) -> bytes:
        before = _LABEL_WIDTH + KEY_WIDTH
        return b" " * _LABEL_WIDTH + entry[_LABEL_WIDTH : before + 1] + ranks.encode() + b":" + entry[before + 1 :]

    def _text_of(self, entry: bytes) -> str:
        label, line = entry[:_LABEL_WIDTH].strip(), entry[_LABEL_WIDTH + KEY_WIDTH + 1 :]
        return self._text(int(label) if label.isdigit() else None, line)


def _entry(rank: int | None, line: bytes, year: int) -> bytes:
    label = b"-" * _LABEL_WIDTH if rank is None else _LABEL % rank
    return label + (key_of(line, year) or key_at(time.time())) + MARK + line.replace(MARK, b"")
