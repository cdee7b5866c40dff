"""The last text of a run, for a terminal: the failure must be on the screen and easy to see."""

import re

from launcher.view.terminal import BOLD, DIM, GREEN, RED, YELLOW, painted

FAILED = "FAILED  "  # how a failure block begins
PROMPT = 2  # rows kept free for the prompt, which may have several
SHORTEST = 8  # lines of a cause that are shown even on the smallest terminal
_BECAME = re.compile(r"^(run .* )(finished|failed|stopped)( after [^\n]*)$", re.MULTILINE)
_COLOURS = {"finished": f"{BOLD};{GREEN}", "failed": f"{BOLD};{RED}", "stopped": f"{BOLD};{YELLOW}"}
_ENDED_BY = re.compile(r"(ended by (?:launch|torchrun))( \([^()]*\))$", re.MULTILINE)


def emphasised(text: str, colours: bool) -> str:
    """Colours: how the run ended, a failure block's first line red, its main part bold, exit codes of processes that
    launch ended dim.
    """
    if not colours:
        return text
    text = _BECAME.sub(
        lambda found: found[1] + painted(found[2], f"{BOLD};{_COLOURS[found[2]]}", True) + found[3], text
    )
    lines = _ENDED_BY.sub(lambda found: found[1] + painted(found[2], DIM, True), text).split("\n")
    for number, line in enumerate(lines[:-2]):
        if line.startswith(FAILED):
            lines[number] = painted(line, f"{BOLD};{RED}", True)
            lines[number + 2] = painted(lines[number + 2], BOLD, True)
    return "\n".join(lines)


def fitted(text: str, columns: int, rows: int) -> str:
    """The text without the middle of the cause if it does not fit above the prompt. The files have all of it."""
    lines = text.split("\n")
    if not text.startswith(FAILED) or "" not in lines[2:]:
        return text
    end = lines.index("", 2)
    cause = lines[2:end]
    too_many = sum(_height(line, columns) for line in lines) + PROMPT - rows
    if too_many <= 0:
        return text
    kept = list(cause)
    while too_many + 1 > 0 and len(kept) > SHORTEST:
        too_many -= _height(kept.pop(3), columns)
    if len(kept) == len(cause):
        return text
    note = f"  ... {len(cause) - len(kept)} more lines"
    return "\n".join([*lines[:2], *kept[:3], note, *kept[3:], *lines[end:]])


def _height(line: str, columns: int) -> int:
    """The rows that a line takes."""
    return max(1, -(-len(line) // columns))
