"""stdout and stderr may be closed, full or of any encoding. Writing to them never ends in a traceback."""

import codecs
import os
import sys
from pathlib import Path

STREAMS = ("stdout", "stderr")
_ASCII = {"…": "...", "─": "-", "┤": "|", "▶": ">"} | dict(zip("▁▂▃▄▅▆▇█", "_.,-=+*#", strict=True))
_BRAILLE = range(0x2800, 0x2900)
_UPPER_DOTS, _LOWER_DOTS = 0x01 | 0x02 | 0x08 | 0x10, 0x04 | 0x20 | 0x40 | 0x80


def prepare_streams() -> None:
    """Reopen closed streams (`>&-`), and let every text be written in every encoding."""
    codecs.register_error("launch", _replaced)
    for name in STREAMS:
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (stays open)
        getattr(sys, name).reconfigure(errors="launch")


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """For text that the encoding lacks: a path's raw byte is kept, our graphics become ASCII, the rest is escaped."""
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
    """The error, if stdout can no longer be written. It then becomes /dev/null, so that the exit is quiet.

    An unbuffered stdout (PYTHONUNBUFFERED) shows the error only when it `writes` something.
    """
    try:
        sys.stdout.flush()
        if writes:
            os.write(sys.stdout.fileno(), writes)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None
