"""Sequences with a common prefix, as the samples of a prompt: the model reads the prefix once for several of them.

They are one row, the prefix in front, and each attends to the prefix and to itself. Hidden states and gradients are
those of sequences apart, but for rounding. (Prefix Grouper: Liu et al., 2025, does it for GRPO.)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from launcher.workload.training.sequences import Sequences

ROWS_A_RANK = 4  # at least, so that no rank waits long for another


@dataclass(frozen=True)
class Branches:
    """Sequences that are read together, by their numbers, each up to its last learned token."""

    members: list[int]
    prefix: int  # tokens that they have in common; 0 where there is one member
    length: int  # tokens to read, those of the prefix once


def longest_row(width: int, sequences: Sequences, ranks: int, max_tokens: int) -> int:
    """How long a row may become by a common prefix, for a model of hidden size `width`.

    With a mask, attention computes each pair of tokens in a row, while the linear layers of a decoder cost as much as
    attention to 6 widths of tokens (24 width^2 against 4 width a pair). So up to a width, less reading pays.
    """
    _, read = sequences.learned
    return min(width, max_tokens, int(read.sum()) // (ROWS_A_RANK * ranks))


def branches_of(sequences: Sequences, longest: int) -> list[Branches]:
    """Every sequence that has something to learn, together with others of its prefix up to `longest` tokens.

    The prefix ends before the first learned token.
    """
    first, read = (bounds.tolist() for bounds in sequences.learned)
    starts = sequences.starts.tolist()
    groups: dict[bytes, list[int]] = {}
    for index, start in enumerate(starts):
        if read[index]:
            groups.setdefault(sequences.tokens[start : start + first[index]].tobytes(), []).append(index)
    return [
        Branches(members, prefix, prefix + sum(read[index] - prefix for index in members))
        for group in groups.values()
        for members, prefix in _split(group, first[group[0]], [read[index] for index in group], longest)
    ]


def _split(group: list[int], prefix: int, read: list[int], longest: int) -> Iterator[tuple[list[int], int]]:
    """The members of a group in parts of about as many, and what each part has in common."""
    rest = max(1, max(read) - prefix)
    count = ceil(len(group) / max(1, (longest - prefix) // rest))
    for part in range(count):
        members = group[part::count]
        yield members, prefix if len(members) > 1 else 0
