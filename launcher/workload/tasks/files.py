"""A task from a file of problems (JSONL or Parquet), with a reward by name or by a function of the user's."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from launcher.borders.problems import Problem, Prompt, read_problems
from launcher.errors import UserError
from launcher.workload.tasks.split import Split

Reward = Callable[[Prompt, str, Any], float | Awaitable[float]]


class FileTask:
    """Every prompt of the file once in an epoch."""

    def __init__(
        self, path: Path, reward: Reward, needs_answer: bool, quick: bool, for_evaluation: bool = False
    ) -> None:
        """`for_evaluation` holds out every prompt."""
        self.quick = quick
        self._path, self._reward = path, reward
        self._problems: dict[str, Problem] = {}
        for problem in read_problems(path, needs_answer):
            self._problems.setdefault(_key(problem.prompt), problem)
        self._split = Split(self._problems, for_evaluation, str(path))

    def prompts(self, seed: int, start: int, count: int) -> list[Prompt]:
        return [self._prompt(self._split.train(seed, index)) for index in range(start, start + count)]

    def held_out(self, count: int) -> list[Prompt]:
        return [self._prompt(key) for key in self._split.held_out(count)]

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
