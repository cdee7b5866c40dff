"""What supervised fine-tuning learns from, as tokens: a batch, a split, an order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from launcher.config.training import DataConfig
from launcher.workload.training.sequences import Sequences, sequences_of


@dataclass(frozen=True)
class Example:
    """A sequence of tokens, and which of them are learned."""

    tokens: NDArray[np.int32]  # (L,)
    learned: NDArray[np.bool_]  # (L,)

    @property
    def prompt(self) -> list[int]:
        """The tokens before the first learned one."""
        return self.tokens[: self.learned.argmax()].tolist()  # type: ignore[no-any-return]


def collate(examples: Sequence[Example]) -> Sequences:
    """A batch whose loss is the mean over all learned tokens."""
    lengths = np.array([len(one.tokens) for one in examples], np.int32)
    learned = np.concatenate([one.learned for one in examples])
    batch = sequences_of(lengths, np.concatenate([one.tokens for one in examples]), learned)
    batch.weights[:] /= max(1, int(np.count_nonzero(batch.weights)))
    return batch


def split(examples: list[Example], data: DataConfig, seed: int) -> tuple[list[Example], list[Example]]:
    """The examples to learn from and, drawn at random, those held out; at least one of each."""
    order = np.random.default_rng(seed).permutation(len(examples))
    held_out = min(max(1, round(len(examples) * data.validation_share)), len(examples) - 1)
    return [examples[row] for row in order[held_out:]], [examples[row] for row in order[:held_out]]


def digest_of(examples: Iterable[Example]) -> str:
    """A digest of the examples' tokens in their order."""
    found = blake2b(digest_size=16)
    for one in examples:
        found.update(len(one.tokens).to_bytes(8, "little") + one.tokens.tobytes() + one.learned.tobytes())
    return found.hexdigest()


def rows_of_step(seed: int, step: int, count: int, total: int) -> list[int]:
    """Which `count` of `total` examples update `step` (from 1) learns from: each once in every pass, shuffled anew.

    A function of its arguments alone, so that a run which is continued needs no other memory of where it was.
    """
    places = range((step - 1) * count, step * count)
    return [int(_shuffled(seed, place // total, total)[place % total]) for place in places]


@lru_cache(maxsize=2)
def _shuffled(seed: int, epoch: int, total: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(total)
