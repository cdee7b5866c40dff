"""How help looks: one style for what is typed; on a terminal headings are bold, options and commands in colour."""

import os
import re
import sys

_HEADING = re.compile(r"^(Usage:|[A-Z][A-Za-z ]*:$|\[[a-z._-]+\]$)", re.MULTILINE)
_NAMES = re.compile(r"^(  )(launch .+?(?=  |$)|--?[a-z]\S*(?:(?:,| /)? -\S+)*|[a-z]+(?=  +[a-z]))", re.MULTILINE)

_KIND = re.compile(r"(?<= )<(?:list\[)?(int|float|str|path)(?: range)?\]?>")
_KINDS = {"int": "N", "float": "X", "str": "TEXT", "path": "PATH"}
_RANGE = re.compile(r"\s+\[x[<>]=?\d+\]$|; x[<>]=?\d+(?=\]$)", re.MULTILINE)


def tidied(text: str) -> str:
    """Typer's help in the style of `launch rl --help`: `launch diff A B`, `--level TEXT`. Columns keep their places."""
    usage, newline, rest = text.partition("\n")
    usage = re.sub(r"\[(\[\w+\](?:\.\.\.)?)\](?:\.\.\.)?", r"\1", usage.replace("{", "").replace("}", ""))
    lines = (_tidied_line(line) for line in _RANGE.sub("", rest).split("\n"))
    return usage + newline + "\n".join(lines)


def _tidied_line(line: str) -> str:
    is_option = line.lstrip().startswith("-")  # an argument's own name says enough
    return _KIND.sub(lambda kind: (_KINDS[kind[1]] if is_option else "").ljust(len(kind[0])), line)


def styled(text: str) -> str:
    """The help text, with colours if stdout is a terminal that may have some (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()
    if plain:
        return text
    return _NAMES.sub("\\1\x1b[36m\\2\x1b[0m", _HEADING.sub("\x1b[1m\\1\x1b[0m", text))
