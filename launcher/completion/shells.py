"""What bash, zsh and fish tell when somebody presses Tab, and how each wants the answer. The scripts are Typer's."""

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress

Items = dict[str, str]  # what can be typed -> its help


# --- what was typed ---------------------------------------------------------------------------------------------------


def typed(shell: str, environ: Mapping[str, str]) -> tuple[list[str], str]:
    """The words before the one at the cursor, without `launch`, and that one."""
    if shell == "bash":
        words = environ.get("COMP_WORDS", "").split("\n")
        at = int(environ.get("COMP_CWORD", "0") or 0)
        words, incomplete = words[1:at], words[at] if at < len(words) else ""
        if incomplete == "=":  # bash makes it a word of its own
            words, incomplete = [*words, "="], ""
        return [each for each in map(_unquoted, words) if each != "="], _unquoted(incomplete)
    line = environ.get("_TYPER_COMPLETE_ARGS", "")
    words = _split(line)[1:]
    incomplete = words.pop() if words and not line.endswith(" ") else ""
    option, equals, value = incomplete.partition("=")
    return ([*words, option], value) if equals and option.startswith("--") and shell == "fish" else (words, incomplete)


def _split(line: str) -> list[str]:
    """The words of a line whose last one may not be finished."""
    for closing in ("", "'", '"'):
        with suppress(ValueError):
            return shlex.split(line + closing)
    return line.split()


def _unquoted(word: str) -> str:
    return (_split(word) or [""])[0]


# --- the answer -------------------------------------------------------------------------------------------------------


def show(shell: str, items: Items, environ: Mapping[str, str]) -> int:
    if shell == "fish" and environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        return 0 if items else 1
    lines = list(_LINES.get(shell, _plain)(items))
    sys.stdout.write("\n".join(lines) + "\n" if lines else "")
    return 0


def _plain(items: Items) -> Iterator[str]:
    """For bash: each word as it is to be inserted."""
    yield from (re.sub(r"([^\w@%+=:,./~-])", r"\\\1", word) for word in items if "\n" not in word)


def _for_zsh(items: Items) -> Iterator[str]:
    """A call that the script evaluates."""
    if items:
        words = "\n".join(
            f'"{_escaped(word)}"' + (f':"{_escaped(text)}"' if text else "") for word, text in items.items()
        )
        yield f"_arguments '*: :(({words}))'"


def _escaped(text: str) -> str:
    """As Typer does it: inside double quotes, inside single quotes, where a colon begins the help."""
    text = re.sub(r"[\x00-\x1f\\]", " ", text)
    return text.replace('"', '""').replace("'", "''").replace("$", "\\$").replace("`", "\\`").replace(":", r"\\:")


def _for_fish(items: Items) -> Iterator[str]:
    yield from (f"{word}\t{' '.join(text.split())}" if text else word for word, text in items.items())


_LINES = {"bash": _plain, "zsh": _for_zsh, "fish": _for_fish}
