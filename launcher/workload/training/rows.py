"""Sequences of tokens, packed into rows that fit together into micro-batches.

Sequences that are shorter than the step's longest one share a row of at most its length: positions start again at each,
and a model of `transformers` that gets such positions, and no mask, attends to nothing beyond the border. Where every
row has one sequence alone there is nothing to keep apart, and the model gets a plain batch. Where sequences share a
prefix, it gets a mask as well.

Which rank learns from which row follows from the batch alone, so all ranks agree without a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from launcher.workload.training.prefixes import Branches, branches_of
from launcher.workload.training.sequences import Sequences


class Sharing(Enum):
    """What sequences may have in common, without knowing of each other."""

    NOTHING = auto()  # the model mixes tokens by more than attention, and respects no border: each needs a row
    ROWS = auto()
    PREFIXES = auto()  # the model attends by any mask


A_PASS = {"cpu": 64, "cuda": 1024}
"""Tokens: so much padding is computed rather than a pass more. A pass on a GPU waits for its kernels to be launched,
and for the weights of a model that is sharded."""


@dataclass(frozen=True)
class MicroBatch:
    """What goes through the model at once: B rows of L tokens, M of which are learned."""

    tokens: Tensor  # (B, L)
    positions: Tensor | None  # (B, L) of each token in its sequence; None where every row has one sequence alone
    branches: Tensor | None  # (B, L) number of each token's branch; None where no sequences share a prefix
    prefixes: Tensor | None  # (B, L) number of the branch that is the prefix of each token's
    before: Tensor  # (M,) index in B * L of the token before each learned one
    learned: Tensor  # (M,) index in T of the learned token

    @property
    def mask(self) -> Tensor | None:
        """(B, 1, L, L): true where a token attends to another, in its own branch or in the prefix of that."""
        if self.branches is None or self.prefixes is None:
            return None
        key = self.branches[:, None, :]
        seen = (self.branches[:, :, None] == key) | (self.prefixes[:, :, None] == key)
        return seen.tril()[:, None]

    def to(self, device: torch.device) -> "MicroBatch":
        move = (None if one is None else one.to(device, non_blocking=True) for one in vars(self).values())
        return MicroBatch(*move)  # type: ignore[arg-type]


def micro_batches(
    sequences: Sequences,
    rank: int,
    ranks: int,
    max_tokens: int,
    context: int | None = None,
    a_pass: int = A_PASS["cuda"],
    longest: int = 0,
    packs: bool = True,
) -> list[MicroBatch]:
    """Those of one rank, none of more than `max_tokens` unless one row is longer. Each rank has as many.

    A row has several sequences if it `packs`, and is no longer than `context`, the longest sequence that the model
    takes, or than `longest`, up to which sequences are read behind a common prefix. Rows that are much shorter than
    others have micro-batches of their own, since padding costs as much as tokens.
    """
    units = branches_of(sequences, longest)
    if not units:
        return [_micro_batch(sequences, [], 1)]
    sizes = [unit.length for unit in units]
    rows = pack(sizes, row_length(max(sizes), context)) if packs else [[unit] for unit in range(len(units))]
    lengths = [row_length(sum(sizes[unit] for unit in row), context) for row in rows]
    order = sorted(range(len(rows)), key=lambda row: -lengths[row])
    found = []
    for part in alike(np.array([lengths[row] for row in order]), ranks, a_pass):
        length = lengths[order[part.start]]
        count = ceil(ceil((part.stop - part.start) / ranks) / max(1, max_tokens // length))
        mine = [[units[unit] for unit in rows[row]] for row in order[part][rank::ranks]]
        found += [_micro_batch(sequences, mine[index::count], length) for index in range(count)]
    return found


def alike(lengths: NDArray[np.int64], ranks: int, a_pass: int, start: int = 0) -> list[slice]:
    """Parts of rows, the longest first, whose lengths (R,) are so alike that one more pass would not pay.

    Each begins at a multiple of `ranks`, so that all ranks have rows of it.
    """
    cuts = np.arange(0, len(lengths), ranks)
    saved = (lengths[0] - lengths[cuts]) * (len(lengths) - cuts)  # tokens of padding
    at = int(cuts[saved.argmax()])
    if saved.max() < a_pass:
        return [slice(start, start + len(lengths))]
    return alike(lengths[:at], ranks, a_pass, start) + alike(lengths[at:], ranks, a_pass, start + at)


def row_length(longest: int, context: int | None = None) -> int:
    """A little more than the longest sequence, so that not every step has a shape of its own."""
    unit = 1 << max(0, longest.bit_length() - 5)
    length = ceil(longest / unit) * unit
    return length if context is None else max(longest, min(length, context))


def pack(lengths: Sequence[int], length: int) -> list[list[int]]:
    """Which sequences share a row: each goes into the first row with room for it, the longest ones first.

    (First fit decreasing: at most 11/9 as many rows as are necessary; Johnson, 1973.)
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    rows: list[list[int]] = []
    rooms = _Rooms(len(lengths), length)
    for index in order:
        row = rooms.take(lengths[index])
        if row == len(rows):
            rows.append([])
        rows[row].append(index)
    return rows


class _Rooms:
    """The room in each of at most `count` rows, as a tree of maxima: the first that is large enough in log(count)."""

    def __init__(self, count: int, length: int) -> None:
        self.leaves = 1 << max(0, count - 1).bit_length()
        self.tree = [length] * (2 * self.leaves)

    def take(self, wanted: int) -> int:
        node = 1
        while node < self.leaves:
            node *= 2
            if self.tree[node] < wanted:
                node += 1
        self.tree[node] -= wanted
        row = node - self.leaves
        while node := node // 2:
            self.tree[node] = max(self.tree[2 * node], self.tree[2 * node + 1])
        return row


def _micro_batch(sequences: Sequences, rows: list[list[Branches]], length: int) -> MicroBatch:
    """A rank without a row reads one token and learns nothing, since the others wait for it."""
    shape = (max(1, len(rows)), length if rows else 1)
    source = np.full(shape, -1, np.int64)  # where in T each token comes from
    positions, branches, prefixes = (np.zeros(shape, np.int64) for _ in range(3))
    place = np.full(len(sequences.tokens), -1, np.int64)  # where in B * L each token of T is read
    starts, (_, read) = sequences.starts, sequences.learned
    learned = [np.zeros(0, np.int64)]

    def put(row: int, column: int, start: int, first: int, end: int, branch: int, prefix: int) -> int:
        """Tokens `first` to `end` of the sequence at `start` in T. Returns the column after them."""
        to = slice(column, column + end - first)
        source[row, to] = np.arange(start + first, start + end)
        positions[row, to] = np.arange(first, end)
        branches[row, to], prefixes[row, to] = branch, prefix
        place[start + first : start + end] = row * length + np.arange(to.start, to.stop)
        return to.stop

    for row, units in enumerate(rows):
        column = branch = 0
        for unit in units:
            first, prefix = starts[unit.members[0]], branch
            column = put(row, column, first, 0, unit.prefix, prefix, prefix)
            for index in unit.members:
                start = starts[index]
                place[start : start + unit.prefix] = place[first : first + unit.prefix]
                branch += 1
                column = put(row, column, start, unit.prefix, read[index], branch, prefix)
                whole = np.arange(start, start + sequences.lengths[index])
                learned.append(whole[sequences.weights[whole] != 0])
            branch += 1
        positions[row, column:] = np.arange(length - column) % read.max()  # padding is like sequences of its own
        branches[row, column:] = prefixes[row, column:] = branch
    ours = np.sort(np.concatenate(learned))
    is_shared = any(unit.prefix for units in rows for unit in units)
    is_plain = all(len(units) == 1 for units in rows) and not is_shared
    return MicroBatch(
        torch.from_numpy(np.where(source < 0, 0, sequences.tokens[source]).astype(np.int64)),
        None if is_plain else torch.from_numpy(positions),
        torch.from_numpy(branches) if is_shared else None,
        torch.from_numpy(prefixes) if is_shared else None,
        torch.from_numpy(place[ours - 1]),
        torch.from_numpy(ours),
    )
