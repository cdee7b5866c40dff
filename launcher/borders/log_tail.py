"""Reads the lines added to a log while it is being written."""

import re
from pathlib import Path

from launcher.borders.growing_file import GrowingFile

BLOCK = 1 << 20  # bytes that are read at once
LONGEST_LINE = 1 << 16  # bytes; only the end of a longer line is kept
_LINE_END = re.compile(rb"\r\n|\n|\r")  # a progress bar ends its lines with carriage returns


class LogTail:
    """A log and how far it has been read. The file need not exist yet. `skip` starts at its present end."""

    def __init__(self, path: Path, skip: bool = False) -> None:
        self._file = GrowingFile(path, skip=skip)
        self._rest = b""

    def new_lines(self, is_over: bool = False) -> list[str]:
        """The lines completed since the last call, at most a block. With `is_over`, also an unfinished last line."""
        block, _, is_anew = self._file.added(BLOCK)
        if is_anew:
            self._rest = b""
        *lines, rest = _LINE_END.split(self._rest + block)
        self._rest = rest[-LONGEST_LINE:]
        if is_over and not block and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        return [line.decode(errors="replace") for line in lines]
