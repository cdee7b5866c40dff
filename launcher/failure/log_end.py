"""Reads the end of a log file, which may contain any bytes."""

import re
from pathlib import Path

from launcher.borders.files import read_end
from launcher.borders.screen import printable

TAIL = 256 * 1024  # bytes
_RANK_PREFIX = re.compile(r"^\[rank\d+\]: ?", re.MULTILINE)  # torch.distributed's, before each line of a traceback
_HEAD = re.compile(r"[A-Z]\d{4} \d\d:\d\d:\d\d\.\d{6} \d+ \S+:\d+\] ")  # of a message of torch, on each of its lines


def tail(path: Path) -> str:
    """The end of a file. Empty if the file cannot be read."""
    try:
        return read_end(path, TAIL).decode(errors="replace")
    except OSError:
        return ""


def clean(text: str) -> str:
    """The text without control characters, rank prefixes, and repeated heads of torch's messages."""
    utf8 = text.encode("utf-8", "replace").decode()  # lone surrogates must not reach our files
    return _with_one_head(_RANK_PREFIX.sub("", printable(utf8)))


def _with_one_head(text: str) -> str:
    """The text, in which a message of torch has its head on its first line only: it may be a traceback."""
    lines, before = [], ""
    for line in text.split("\n"):
        found = _HEAD.match(line)
        head = found.group() if found else ""
        lines.append(line[len(head) :] if head == before else line)
        before = head
    return "\n".join(lines)
