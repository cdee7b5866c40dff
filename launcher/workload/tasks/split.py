"""Which of a limited number of prompts are trained on, in which order, and which are held out for evaluation."""

import random
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256

from launcher.errors import UserError
from launcher.workload.tasks.task import HELD_OUT_SHARE

MOST_HELD_OUT = 1024


class Split:
    """Every prompt once in an epoch, in an order that depends on the seed. A prompt is known by a key.

    One in eight, at most 1,024, is held out: those whose checksums are lowest, so an addition changes little.
    """

    def __init__(self, keys: Iterable[str], for_evaluation: bool, where: str) -> None:
        """`for_evaluation` holds out every prompt. Raises UserError when there are too few."""
        ordered = sorted(keys, key=lambda key: sha256(key.encode(errors="surrogatepass")).digest())
        held_out = min(max(len(ordered) // HELD_OUT_SHARE, 1), MOST_HELD_OUT)
        if for_evaluation:
            held_out = len(ordered)
        elif len(ordered) <= held_out:
            raise UserError(f"{where}: {len(ordered)} different prompts are too few: some are held out from training")
        self._held_out, self._train = ordered[:held_out], ordered[held_out:]

    def train(self, seed: int, index: int) -> str:
        """One of an endless stream; the same for the same seed."""
        size = len(self._train)
        epoch, at = divmod(index, size)
        return self._train[_order(seed, epoch, size)[at]]

    def held_out(self, count: int) -> list[str]:
        """`count` or fewer, always the same."""
        return self._held_out[:count]


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, size: int) -> Sequence[int]:
    order = list(range(size))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order
