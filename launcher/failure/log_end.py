"""Reads the end of a log file, which may contain any bytes."""

import re
from pathlib import Path

from launcher.borders.files import read_end
from launcher.borders.screen import printable

TAIL, FAR = 256 * 1024, 8 * 1024 * 1024  # bytes
_WRITER = re.compile(  # before each line: torch.distributed's rank in a traceback, vLLM's process in all that it writes
    r"^(\[rank\d+\]: ?|\([A-Z]\w* pid=\d+\) )", re.MULTILINE
)
_HEAD = re.compile(  # of a message of torch, or of vLLM, on each of its lines
    r"[A-Z]\d{4} \d\d:\d\d:\d\d\.\d{6} \d+ [^\]\n]+:\d+\] |[A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[\S+:\d+\] "
)


def tail(path: Path, size: int = TAIL) -> str:
    """The end of a file, so many bytes. Empty if the file cannot be read."""
    try:
        return read_end(path, size).decode(errors="replace")
    except OSError:
        return ""


def clean(text: str) -> str:
    """The text without control characters, the writer of each line, and heads of messages that are repeated."""
    utf8 = text.encode("utf-8", "replace").decode()  # lone surrogates must not reach our files
    return _with_one_head(_WRITER.sub("", printable(utf8)))


def _with_one_head(text: str) -> str:
    """The text, in which a message has its head on its first line only: it may be a traceback."""
    lines, before = [], ""
    for line in text.split("\n"):
        found = _HEAD.match(line)
        head = found.group() if found else ""
        lines.append(line[len(head) :] if head == before else line)
        before = head
    return "\n".join(lines)
