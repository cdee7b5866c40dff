"""Sequences of tokens, packed into rows that fit together into micro-batches.

Sequences that are shorter than the step's longest one share a row of at most its length: positions start again at each,
and a model of `transformers` that gets such positions, and no mask, attends to nothing beyond the border. Where every
row has one sequence alone there is nothing to keep apart, and the model gets a plain batch.

Which rank learns from which row follows from the lengths alone, so all ranks agree without a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

A_PASS = {"cpu": 64, "cuda": 1024}
"""Tokens: so much padding is computed rather than a pass more. A pass on a GPU waits for its kernels to be launched,
and for the weights of a model that is sharded."""


@dataclass(frozen=True)
class Sequences:
    """What one update learns from: N sequences, one after the other, T tokens in all."""

    lengths: NDArray[np.int32]  # (N,)
    tokens: NDArray[np.int32]  # (T,)
    weights: NDArray[np.float32]  # (T,) of each token in the loss; 0 where it is only read

    @property
    def starts(self) -> NDArray[np.int64]:
        """(N,) where each sequence begins."""
        return np.cumsum(self.lengths, dtype=np.int64) - self.lengths

    @property
    def owners(self) -> NDArray[np.int64]:
        """(T,) which sequence each token belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


def sequences_of(
    lengths: NDArray[np.int32], tokens: NDArray[np.int32], weights: NDArray[np.float32 | np.bool_]
) -> Sequences:
    """The first token of a sequence follows nothing, so it has no probability and no weight."""
    found = Sequences(lengths, tokens, weights.astype(np.float32))
    found.weights[found.starts] = 0
    return found


@dataclass(frozen=True)
class MicroBatch:
    """What goes through the model at once: B rows of L tokens, M of which are learned."""

    tokens: Tensor  # (B, L)
    positions: Tensor | None  # (B, L) of each token in its sequence; None where every row has one sequence alone
    before: Tensor  # (M,) index in B * L of the token before each learned one
    learned: Tensor  # (M,) index in T of the learned token

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
) -> list[MicroBatch]:
    """Those of one rank, none of more than `max_tokens` unless one sequence is longer. Each rank has as many.

    No row is longer than `context`, the longest sequence that the model takes. Rows that are much shorter than others
    have micro-batches of their own, since padding costs as much as tokens.
    """
    rows = pack(sequences.lengths.tolist(), row_length(int(sequences.lengths.max()), context))
    lengths = [row_length(int(sequences.lengths[row].sum()), context) for row in rows]
    order = sorted(range(len(rows)), key=lambda row: -lengths[row])
    found = []
    for part in alike(np.array([lengths[row] for row in order]), ranks, a_pass):
        length = lengths[order[part.start]]
        count = ceil(ceil((part.stop - part.start) / ranks) / max(1, max_tokens // length))
        mine = [rows[row] for row in order[part][rank::ranks]]
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


def _micro_batch(sequences: Sequences, rows: list[list[int]], length: int) -> MicroBatch:
    """A rank without a row reads one token and learns nothing, since the others wait for it."""
    shape = (max(1, len(rows)), length if rows else 1)
    source = np.full(shape, -1, np.int64)  # where in T each token comes from
    positions = np.zeros(shape, np.int64)
    starts = sequences.starts
    for row, members in enumerate(rows):
        column = 0
        for index in members:
            start, size = starts[index], sequences.lengths[index]
            source[row, column : column + size] = np.arange(start, start + size)
            positions[row, column : column + size] = np.arange(size)
            column += size
        positions[row, column:] = np.arange(length - column)  # padding is a sequence of its own
    tokens = np.where(source < 0, 0, sequences.tokens[source])
    weights = np.where(source < 0, 0, sequences.weights[source])
    is_plain = all(len(members) == 1 for members in rows)
    (learned,) = weights.reshape(-1).nonzero()
    return MicroBatch(
        torch.from_numpy(tokens.astype(np.int64)),
        None if is_plain else torch.from_numpy(positions),
        torch.from_numpy(learned - 1),
        torch.from_numpy(source.reshape(-1)[learned]),
    )
