"""Limits the length of a line: of a longer one, the beginning is shown, and how many bytes were left out.

Programs print whole tensors, or a file in base64. A line of 200 MB is still complete in the log.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

LONGEST_LINE = 256 * 1024  # bytes
_PIECE = re.compile(rb"[^\n]*\n|[^\n]+")


class LongLines:
    """Passes on what is added to a log, except the rest of a line that is too long.

    Of text that is overwritten (a progress bar that has no end yet) the last state is kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._length = 0  # of the last line, as far as it was passed on
        self._left_out = 0  # bytes of it that were not
        self._last = b""  # of these, what follows the last carriage return
        self._is_overwritten = False

    def add(self, data: bytes) -> bytes:
        """What of `data` is passed on."""
        if not self._left_out and self._length + len(data) <= LONGEST_LINE:
            end = data.rfind(b"\n")
            self._length = self._length + len(data) if end < 0 else len(data) - end - 1
            return data
        return b"".join(self._pieces(data))

    def end(self) -> bytes:
        """The end of the last line, if something of it was left out."""
        left_out, last = self._left_out, self._last
        self._length, self._left_out, self._last, self._is_overwritten = 0, 0, b"", False
        if not left_out:
            return b""
        return b"\r" + last if last else b" ... %d more bytes, in %b" % (left_out, os.fsencode(self._path))

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        for piece in _PIECE.findall(data):
            line = piece.removesuffix(b"\n")
            room = 0 if self._left_out else LONGEST_LINE - self._length
            while 0 < room < len(line) and line[room] & 0xC0 == 0x80:  # not within a character
                room -= 1
            self._length += len(line[:room])
            yield line[:room]
            self._leave_out(line[room:])
            if piece != line:
                yield self.end() + b"\n"

    def _leave_out(self, text: bytes) -> None:
        self._left_out += len(text)
        _, mark, last = text.rpartition(b"\r")
        if mark:
            self._is_overwritten, self._last = True, last[:LONGEST_LINE]
        elif self._is_overwritten:
            self._last = (self._last + text)[:LONGEST_LINE]
