"""Reads the end of files that may hold anything."""

import re
from pathlib import Path

from launcher.borders.files import reading
from launcher.borders.screen import printable

TAIL = 256 * 1024  # bytes that are read of a file's end
_RANK_PREFIX = re.compile(r"^\[rank\d+\]: ?", re.MULTILINE)  # torch.distributed's, before each line of a traceback


def tail(path: Path) -> str:
    """The end of a file; empty when it cannot be read."""
    try:
        with reading(path) as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            return file.read(TAIL).decode(errors="replace")
    except OSError:
        return ""


def clean(text: str) -> str:
    """Without what is not meant to be read."""
    utf8 = text.encode("utf-8", "replace").decode()  # a lone surrogate stands in no file of ours
    return _RANK_PREFIX.sub("", printable(utf8))
