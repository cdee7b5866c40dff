"""How help looks on a terminal: headings bold, options and commands in colour; anywhere else it is plain text."""

import os
import re
import sys

_HEADING = re.compile(r"^(Usage:|[A-Z][A-Za-z ]*:$|\[[a-z._-]+\]$)", re.MULTILINE)
_NAMES = re.compile(r"^(  )(launch .+?(?=  |$)|--?[a-z]\S*(?:(?:,| /)? -\S+)*|[a-z]+(?=  +[a-z]))", re.MULTILINE)


def styled(text: str) -> str:
    """The help text, with colours if stdout is a terminal that may have some (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()
    if plain:
        return text
    return _NAMES.sub("\\1\x1b[36m\\2\x1b[0m", _HEADING.sub("\x1b[1m\\1\x1b[0m", text))
