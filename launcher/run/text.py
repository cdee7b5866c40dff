"""Reads the end of files that may hold anything."""

import re
from pathlib import Path

from launcher.files import reading

TAIL = 256 * 1024  # bytes that are read of a file's end
_NOISE = re.compile(
    r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|.)"  # colours and titles for a terminal
    r"|[\x00-\x08\x0b-\x1f\x7f]"  # other control characters
    r"|^\[rank\d+\]: ?",  # what torch.distributed puts before each line of a traceback
    re.MULTILINE,
)


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
    printable = text.encode("utf-8", "replace").decode()  # a lone surrogate stands in no file of ours
    return _NOISE.sub("", printable)
