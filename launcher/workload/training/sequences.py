"""What one update learns from, as sequences of tokens, each token with its weight in the loss."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sequences:
    """N sequences, one after the other, T tokens in all.

    Which tokens have a weight is settled before anything is asked: the answers are kept, as every micro-batch asks.
    """

    lengths: NDArray[np.int32]  # (N,)
    tokens: NDArray[np.int32]  # (T,)
    weights: NDArray[np.float32]  # (T,) of each token in the loss; 0 where it is only read

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(N,) where each sequence begins."""
        return np.cumsum(self.lengths, dtype=np.int64) - self.lengths

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """(T,) which sequence each token belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def learned(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(N,) how many tokens are before the first learned one of each, and before the last; 0 where there is none.

        The model reads a sequence up to its last learned token: nobody asks what comes after it.
        """
        (learned,) = self.weights.nonzero()
        owners = self.owners[learned]
        before = learned - self.starts[owners]
        first, last = self.lengths.astype(np.int64), np.zeros(len(self.lengths), np.int64)
        np.minimum.at(first, owners, before)
        np.maximum.at(last, owners, before)
        return np.minimum(first, last), last


def sequences_of(
    lengths: NDArray[np.int32], tokens: NDArray[np.int32], weights: NDArray[np.float32 | np.bool_]
) -> Sequences:
    """The first token of a sequence follows nothing, so it has no probability and no weight."""
    found = Sequences(lengths, tokens, weights.astype(np.float32))
    found.weights[found.starts] = 0
    return found
