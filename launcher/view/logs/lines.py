"""Reads time, level and text from a line of a log, whichever program wrote it.

Lines are bytes, since a log need not be UTF-8. A time is a key such as `2026-11-23 03:10:02.123`: it has a fixed width
and sorts as bytes. It is local time, as nearly all programs write it.
"""

import re
import time

from launcher.borders.screen import clean_bytes, is_clean

KEY_WIDTH = 23
MARK = b"\0"  # never in a clean line
INNER_END = b"\x01"  # ends a line within an entry; never in a clean line either

LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "SUCCESS": 25, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_ALIASES = {b"WARN": "WARNING", b"FATAL": "CRITICAL", b"I": "INFO", b"W": "WARNING", b"E": "ERROR", b"F": "CRITICAL"}
_LEVEL = re.compile(rb"\b(?:TRACE|DEBUG|INFO|SUCCESS|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b|\b[IWEF](?=\d{4} \d\d:)")
_OUR_LEVEL = re.compile(rb" \| ([A-Z]+)")
_LEVEL_IS_WITHIN = 120  # bytes; further on, a word such as ERROR belongs to the message
TRACEBACK = b"Traceback (most recent call last):"

_OURS = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ")
# loguru, logging and hydra; the JSON lines of --log.json
_DATED = re.compile(rb'(?:\{"time": ?"|\[)?(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:[.,](\d{1,3}))?')
# torch's `W1123 03:10:02.123000`, also from C++ and for a rank, and vLLM's `INFO 11-23 03:10:02`
_YEARLESS = re.compile(
    rb"(?:\([^)\n]*\) )?\[?(?:[IWEF]|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) )"
    rb"(\d\d)-?(\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{3}))?"
)

_REST_OF_STAMP = re.compile(rb"\A\d*(?: +\d+(?= \S+:\d+\]))?")
# loguru with a short format, as in prime-rl
_CLOCK = re.compile(rb"\[?((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:[.,](\d{1,3})\d*)?(?=[\]\s|])")

_OVERWRITTEN = re.compile(rb"[^\n]*\r")
_RANK_PREFIX = re.compile(rb"^\[rank\d+\]: ?", re.MULTILINE)  # torch.distributed's, before each line of a traceback


def clean(block: bytes) -> bytes:
    """Whole lines without terminal codes. Of a progress bar, only the last state is kept."""
    if b"\r" in block:
        block = _OVERWRITTEN.sub(b"", block.replace(b"\r\n", b"\n"))
    if b"[rank" in block:
        block = _RANK_PREFIX.sub(b"", block)
    return clean_bytes(block)


def plain_entries(block: bytes, label: bytes) -> list[bytes] | None:
    """The lines, each after `label`, if all are clean and begin with a key of the same day. Fast, and true of most."""
    if not _OURS.match(block) or not is_clean(block):
        return None
    lines = (label + block[:-1].replace(b"\n", b"\n" + label)).split(b"\n")
    start = label + block[:11]
    return lines if min(lines).startswith(start) and max(lines).startswith(start) else None  # and all between these


def has_stamp(block: bytes, start: int) -> bool:
    """Whether the line that begins at `start` begins with a time."""
    return any(stamp.match(block, start) for stamp in (_DATED, _YEARLESS, _CLOCK))


def key_of(line: bytes, year: int) -> bytes | None:
    """When the line was written. None if it has no date. `year` is for stamps without a year."""
    if found := _DATED.match(line):
        date, clock, fraction = found.groups()
    elif found := _YEARLESS.match(line):
        month, day, clock, fraction = found.groups()
        date = b"%04d-%b-%b" % (year, month, day)
    else:
        return None
    return b"%b %b.%b" % (date, clock, (fraction or b"").ljust(3, b"0"))


def without_stamp(line: bytes) -> bytes:
    """The line without its time, and without the pid that follows in torch's form: equal when several ranks log it.

    Empty for a blank line, and for a JSON object, which must stay whole.
    """
    if line.startswith((b"{", b"[{")) or not line.strip():
        return b""
    found = _DATED.match(line) or _YEARLESS.match(line) or _CLOCK.match(line)
    if found is None:
        return line
    return line[: found.start(1)] + _REST_OF_STAMP.sub(b"", line[found.end() :], count=1)


def clock_of(line: bytes) -> bytes | None:
    """The time of day, as in a key, of a line that has no date."""
    found = _CLOCK.match(line)
    return b"%b.%b" % (found.group(1), (found.group(2) or b"").ljust(3, b"0")) if found else None


def key_at(seconds: float) -> bytes:
    """The key of a moment, in seconds since the epoch."""
    whole = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03}".encode()


def level_of(entry: bytes, default: int) -> int:
    """The level of an entry. With a traceback it is at least an error."""
    ours = _OUR_LEVEL.match(entry, KEY_WIDTH)
    if ours and (known := LEVELS.get(ours.group(1).decode())):
        default = known
    elif found := _LEVEL.search(entry, 0, _LEVEL_IS_WITHIN):
        word = found.group()
        default = LEVELS[_ALIASES.get(word) or word.decode()]
    return max(default, LEVELS["ERROR"]) if TRACEBACK in entry else default
