"""Splits torchrun's console into the lines of each rank.

torchrun writes `[trainer0]:` before each piece that it reads from a rank's file, even if the piece is half a line. Then
another rank's line follows on the same line.
"""

import re
from collections.abc import Iterator, Sequence

LARGEST_HALF = 256 * 1024  # bytes; a larger one counts as a line

Line = tuple[int | None, bytes]
"""(local rank, text without its end); None is torchrun itself."""


class RankLines:
    """Puts each rank's halves together again. `shown` are the ranks that torchrun writes to its console."""

    def __init__(self, role: str, shown: Sequence[int]) -> None:
        self._mark = re.compile(rb"\[%b(%b)\]:" % (re.escape(role.encode()), "|".join(map(str, shown)).encode()))
        self._halves: dict[int, bytes] = {}

    def add(self, text: bytes) -> Iterator[Line]:
        """The lines that are complete with `text`, which ends at a line's end."""
        own, *pieces = self._mark.split(text)
        yield from self._own(own)
        for rank, piece in zip(map(int, pieces[::2]), pieces[1::2], strict=True):
            line, end, own = piece.partition(b"\n")
            line = self._halves.pop(rank, b"") + line
            if end or len(line) > LARGEST_HALF:
                yield rank, line
            else:
                self._halves[rank] = line
            yield from self._own(own)

    def end(self) -> Iterator[Line]:
        """The halves that have no end."""
        halves, self._halves = self._halves, {}
        yield from halves.items()

    def _own(self, text: bytes) -> Iterator[Line]:
        lines = text.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for line in lines:
            yield None, line
