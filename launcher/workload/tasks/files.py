"""A task from a file of problems (JSONL or Parquet), with a reward by name or by a function of the user's."""

import json
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from launcher.borders.problems import Problem, Prompt, read_problems
from launcher.errors import UserError
from launcher.workload.tasks.task import HELD_OUT_SHARE

MOST_HELD_OUT = 1024

Reward = Callable[[Prompt, str, Any], float | Awaitable[float]]


class FileTask:
    """Every prompt of the file once in an epoch, in an order that depends on the seed.

    One prompt in eight, at most 1,024, is held out: those whose checksums are lowest, so an addition to the file
    changes little.
    """

    def __init__(
        self, path: Path, reward: Reward, needs_answer: bool, quick: bool, for_evaluation: bool = False
    ) -> None:
        """`for_evaluation` holds out every prompt."""
        self.quick = quick
        self._path, self._reward = path, reward
        self._problems: dict[str, Problem] = {}
        for problem in read_problems(path, needs_answer):
            self._problems.setdefault(_key(problem.prompt), problem)
        ordered = sorted(self._problems, key=lambda key: sha256(key.encode(errors="surrogatepass")).digest())
        held_out = min(max(len(ordered) // HELD_OUT_SHARE, 1), MOST_HELD_OUT)
        if for_evaluation:
            held_out = len(ordered)
        elif len(ordered) <= held_out:
            raise UserError(f"{path}: {len(ordered)} different prompts are too few: some are held out from training")
        self._held_out, self._train = ordered[:held_out], ordered[held_out:]

    def prompts(self, seed: int, start: int, count: int) -> list[Prompt]:
        size = len(self._train)
        places = (divmod(index, size) for index in range(start, start + count))
        return [self._prompt(self._train[_order(seed, epoch, size)[at]]) for epoch, at in places]

    def held_out(self, count: int) -> list[Prompt]:
        return [self._prompt(key) for key in self._held_out[:count]]

    def reward(self, prompt: Prompt, completion: str) -> float | Awaitable[float]:
        return self._reward(prompt, completion, self._problems[_key(prompt)].answer)

    def answer(self, prompt: Prompt) -> str:
        answer = self._problems[_key(prompt)].answer
        if answer is None:
            raise UserError(f"{self._path}: no answer to the prompt {prompt!r}")
        return str(answer)

    def _prompt(self, key: str) -> Prompt:
        return self._problems[key].prompt


def _key(prompt: Prompt) -> str:
    return json.dumps(prompt, sort_keys=True)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, size: int) -> Sequence[int]:
    order = list(range(size))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order
