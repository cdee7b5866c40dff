"""Reads the end of a log file, which may contain any bytes."""

import re
from pathlib import Path

from launcher.borders.files import read_end
from launcher.borders.screen import printable

TAIL = 256 * 1024  # bytes
_RANK_PREFIX = re.compile(r"^\[rank\d+\]: ?", re.MULTILINE)  # torch.distributed's, before each line of a traceback


def tail(path: Path) -> str:
    """The end of a file. Empty if the file cannot be read."""
    try:
        return read_end(path, TAIL).decode(errors="replace")
    except OSError:
        return ""


def clean(text: str) -> str:
    """The text without control characters and rank prefixes."""
    utf8 = text.encode("utf-8", "replace").decode()  # lone surrogates must not reach our files
    return _RANK_PREFIX.sub("", printable(utf8))
