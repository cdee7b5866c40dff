"""Text on its way to a screen: whatever comes from a file, a process or another node passes `printable`.

`view/tmux/pane.sed` does the same in a tmux pane, where it leaves colours; tests/borders/test_screen.py holds the two
together.
"""

import re
import shlex
from collections.abc import Iterable

_SEQUENCE = (  # for a terminal: colours and the cursor; titles, links and the clipboard; the rest
    r"\[[0-?]*[ -/]*[@-~]?"
    r"|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"
    r"|[ -/]*[0-~]"
)
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but for tab and newline, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing
    r"\ud800-\udc9f\udd00-\udfff]"  # lone surrogates, but for a byte of a path that is not UTF-8, and no C1 either
    rf"(?:(?<=\x1b)(?:{_SEQUENCE}))?"  # begins with a set of characters, which re finds fast
)
_CONTROL = bytes(code for code in (*range(0x20), 0x7F) if code not in b"\t\n")


def printable(text: str) -> str:
    """The text as a screen may show it: nothing in it moves the cursor, colours, or turns the direction of writing."""
    return _UNPRINTABLE.sub("", text)


def in_one_line(text: str) -> str:
    """The same for a cell or a title: what would break a line is shown as an escape."""
    return printable(text.replace("\n", "\\n").replace("\t", " "))


def in_lines(lines: Iterable[str]) -> str:
    """Lines as text: no line of it becomes two, and none has more than is to be read."""
    return "\n".join(printable(line.replace("\n", "\\n")) for line in lines)


def is_clean(block: bytes) -> bool:
    """Whether a block of a log, which need not be UTF-8, can be shown as it is. Made to be fast where it can."""
    if len(block.translate(None, _CONTROL)) < len(block):
        return False
    return block.isascii() or _UNPRINTABLE.search(_decoded(block)) is None


def clean_bytes(block: bytes) -> bytes:
    """A block of a log as a screen may show it; bytes that are not UTF-8 stay what they are."""
    if is_clean(block):
        return block
    return printable(_decoded(block)).encode(errors="surrogateescape")


def _decoded(block: bytes) -> str:
    return block.decode(errors="surrogateescape")


def quoted(word: str) -> str:
    """The word as one types it into a shell; one that cannot be shown in a line as bash, zsh and ksh take it."""
    if in_one_line(word) == word:
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word))}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if in_one_line(character) == character:
        return character
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\{byte:03o}" for byte in character.encode(errors=errors))
