"""Lines of a log as people read them while a run is running: no date, and a level only if it is news.

`view/tmux/pane.sed` does the same in a tmux pane; tests/view/console/test_short_lines.py compares the two.
"""

import re
from dataclasses import dataclass

from launcher.view.terminal import BOLD, DIM, RED, YELLOW

_STAMPED = re.compile(
    r"(?:\[([^]]*)\]:)?\d{4}-\d\d-\d\d[ T](\d\d:\d\d:\d\d)[\d:.,]* \| (?:([A-Z]+) *\| )?(.*)", re.DOTALL
)
_PREFIXED = re.compile(r"\[[^] ]*[^] \d]\d+\]:")  # torchrun's, before the line of a rank
_STEP = re.compile(r"step \d")
LEVEL_COLOURS = {
    "DEBUG": DIM,
    "TRACE": DIM,
    "WARNING": YELLOW,
    "ERROR": f"{BOLD};{RED}",
    "CRITICAL": f"{BOLD};{RED}",
}
_NEWS = ("WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True)
class ShortLine:
    clock: str  # "23:11:50"; empty for a line without a time
    whose: str  # "trainer0", "ranks 0-7"; empty if the line does not say it
    level: str  # empty if unknown
    text: str

    @property
    def is_news(self) -> bool:
        """Whether somebody should see it: a warning or worse."""
        return self.level in _NEWS

    @property
    def colour(self) -> str | None:
        return LEVEL_COLOURS.get(self.level)


def short_line(line: str) -> ShortLine:
    """What is said, by whom and when. A line that does not begin with a time is not changed."""
    found = _STAMPED.match(line)
    if found is None:
        prefix = _PREFIXED.match(line)
        return ShortLine("", prefix.group()[1:-2] if prefix else "", "", line)
    whose, clock, level, text = found.groups(default="")
    text = text.replace(" | ", "  ") if _STEP.match(text) else text
    return ShortLine(clock, whose, level, text)
