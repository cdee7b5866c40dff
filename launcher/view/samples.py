"""A step's samples as text: what the model was asked, what it said, and what that was worth."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from launcher.borders.screen import in_one_line, printable
from launcher.borders.values import MOST_STEPS, is_number
from launcher.numbers import three_digits
from launcher.view.terminal import BOLD, DIM, GREEN, RED, painted

Row = dict[str, Any]


def samples_text(rows: Sequence[Row], title: str, colours: bool) -> str:
    """The rows in their order, those of one prompt that follow each other below it."""
    blocks = [painted(in_one_line(title), BOLD, colours)]
    for prompt, same in groupby(rows, lambda row: str(row.get("prompt", ""))):
        blocks.append(painted(printable(prompt), BOLD, colours))
        blocks += [_sample(row, colours) for row in same]
    return "\n\n".join(blocks) + "\n"


def ordered(rows: Sequence[Row], first: str | None) -> list[Row]:
    """The rows as they were drawn, or the `best` or `worst` first."""
    if first is None:
        return list(rows)
    return sorted(rows, key=lambda row: _number(row, "reward") or 0.0, reverse=first == "best")


def _sample(row: Row, colours: bool) -> str:
    reward, advantage = _number(row, "reward"), _number(row, "advantage")
    words = [] if reward is None else [f"reward {three_digits(reward)}"]
    words += [] if advantage is None else [f"advantage {'+' if advantage > 0 else ''}{three_digits(advantage)}"]
    tokens = _number(row, "tokens")
    words += [f"{tokens} tokens"] if isinstance(tokens, int) and 0 <= tokens <= MOST_STEPS else []
    colour = DIM if not advantage else GREEN if advantage > 0 else RED
    lines = printable(str(row.get("completion", ""))).split("\n")
    return "\n".join([painted("  " + "  ".join(words), colour, colours), *(f"    {line}" for line in lines)])


def _number(row: Row, name: str) -> float | None:
    value = row.get(name)
    return value if is_number(value) and not isinstance(value, bool) else None
