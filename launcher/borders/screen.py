"""Makes text safe for a screen. Text from a file, a process or another node must pass `printable`.

`view/tmux/pane.sed` does the same in a tmux pane, but keeps colours. tests/borders/test_screen.py compares the two.
"""

import re
import shlex
from collections.abc import Iterable

_SEQUENCE = (  # escape sequences: colours and the cursor; titles, links and the clipboard; the rest
    r"\[[0-?]*[ -/]*[@-~]?"
    r"|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"
    r"|[ -/]*[0-~]"
)
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 except tab and newline, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # changes of the writing direction
    r"\ud800-\udc9f\udd00-\udfff]"  # lone surrogates, except a path's non-UTF-8 bytes that are not C1
    rf"(?:(?<=\x1b)(?:{_SEQUENCE}))?"  # re is fast, as the pattern begins with a character set
)
_CONTROL = bytes(code for code in (*range(0x20), 0x7F) if code not in b"\t\n")


def printable(text: str) -> str:
    """The text, safe to show: it cannot move the cursor, set colours or change the writing direction."""
    return _UNPRINTABLE.sub("", text)


def in_one_line(text: str) -> str:
    """The same for a cell or a title: a newline is shown as \\n."""
    return printable(text.replace("\n", "\\n").replace("\t", " "))


def in_lines(lines: Iterable[str]) -> str:
    """Lines joined to a printable text. A newline inside a line is shown as \\n."""
    return "\n".join(printable(line.replace("\n", "\\n")) for line in lines)


def is_clean(block: bytes) -> bool:
    """Whether a block of a log can be shown unchanged. It need not be UTF-8. Fast, as most blocks are clean."""
    if len(block.translate(None, _CONTROL)) < len(block):
        return False
    return block.isascii() or _UNPRINTABLE.search(_decoded(block)) is None


def clean_bytes(block: bytes) -> bytes:
    """A block of a log, safe to show. Bytes that are not UTF-8 are kept."""
    if is_clean(block):
        return block
    return printable(_decoded(block)).encode(errors="surrogateescape")


def _decoded(block: bytes) -> str:
    return block.decode(errors="surrogateescape")


def quoted(word: str) -> str:
    """The word quoted for a shell. A word with control characters becomes $'…', as bash, zsh and ksh read it."""
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
