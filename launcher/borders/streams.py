"""stdout and stderr as they come: closed, full, of any encoding. Writing to them never ends in a traceback."""

import codecs
import os
import sys
from pathlib import Path

STREAMS = ("stdout", "stderr")
_ASCII = {"…": "...", "─": "-", "┤": "|", "▶": ">"} | dict(zip("▁▂▃▄▅▆▇█", "_.,-=+*#", strict=True))
_BRAILLE = range(0x2800, 0x2900)
_UPPER_DOTS, _LOWER_DOTS = 0x01 | 0x02 | 0x08 | 0x10, 0x04 | 0x20 | 0x40 | 0x80


def prepare_streams() -> None:
    """Open what is closed (by `>&-`), and let any text be written in any encoding."""
    codecs.register_error("launch", _replaced)
    for name in STREAMS:
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (for good)
        getattr(sys, name).reconfigure(errors="launch")


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """A byte of a path that is not UTF-8 as it is, what we draw as something like it, all else escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return _in_ascii(character), error.start + 1


def _in_ascii(character: str) -> str:
    code = ord(character)
    if code in _BRAILLE:
        return " '.:"[bool(code & _UPPER_DOTS) + 2 * bool(code & _LOWER_DOTS)]
    return _ASCII.get(character) or character.encode("ascii", "backslashreplace").decode()


def trouble_with_stdout(writes: bytes = b"") -> OSError | None:
    """Why stdout takes nothing more, if that is so; from then on it is /dev/null, so that the exit is quiet.

    Without a buffer (PYTHONUNBUFFERED) only something that it `writes` can tell.
    """
    try:
        sys.stdout.flush()
        if writes:
            os.write(sys.stdout.fileno(), writes)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None
