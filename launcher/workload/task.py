"""What is learned: prompts, and how good a completion is. The reference task reverses a short string.

A task of your own is any class with these four methods; name it as `--task.target my_package.my_task:MyTask`, and its
constructor's arguments as `[task.args]`.
"""

import random
from importlib import import_module
from string import ascii_lowercase
from typing import Protocol, cast
from zlib import crc32

from launcher.config.workload import TaskConfig
from launcher.errors import UserError

HELD_OUT_SHARE = 8  # one string in so many is never trained on


class Task(Protocol):
    def prompts(self, seed: int, start: int, count: int) -> list[str]:
        """Prompts `start` to `start + count` of an endless stream for training; the same for the same seed."""
        ...

    def held_out(self, count: int) -> list[str]:
        """Prompts for evaluation: always the same, and none of them ever in `prompts`."""
        ...

    def reward(self, prompt: str, completion: str) -> float:
        """How good the completion is, usually from 0 to 1; 1 or more counts as solved."""
        ...

    def answer(self, prompt: str) -> str:
        """A completion that solves the prompt, for supervised fine-tuning."""
        ...


class ReverseText:
    """`hello>` is to be completed with `olleh`, for random lowercase strings of one length.

    The reward is the share of letters right: those at their place, over the longer of answer and completion. Lengths
    are in bytes: counted in characters, a policy that never stops is well paid for one of three bytes at the end.
    """

    def __init__(self, length: int = 5) -> None:
        if length < 1:
            raise ValueError("length must be 1 or more")
        self.length = length

    def prompts(self, seed: int, start: int, count: int) -> list[str]:
        return [self._prompt(f"{seed}/{index}", held_out=False) for index in range(start, start + count)]

    def held_out(self, count: int) -> list[str]:
        return [self._prompt(f"held out/{index}", held_out=True) for index in range(count)]

    def reward(self, prompt: str, completion: str) -> float:
        answer, given = self.answer(prompt).encode(), completion.encode()
        right = sum(a == b for a, b in zip(answer, given, strict=False))
        return right / max(len(answer), len(given))

    def answer(self, prompt: str) -> str:
        return prompt.removesuffix(">")[::-1]

    def _prompt(self, key: str, held_out: bool) -> str:
        draw = random.Random(key)
        while True:
            text = "".join(draw.choices(ascii_lowercase, k=self.length))
            if (crc32(text.encode()) % HELD_OUT_SHARE == 0) == held_out:
                return f"{text}>"


def load_task(config: TaskConfig) -> Task:
    """The task that the configuration names. Raises UserError when it is not there or refuses its arguments."""
    module_name, _, class_name = config.target.partition(":")
    try:
        found = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        hint = "task.target is module:Class, and the module must be importable from the working directory"
        raise UserError(f"there is no task {config.target!r}: {error}", hint) from error
    try:
        return cast(Task, found(**config.args))
    except (TypeError, ValueError) as error:
        raise UserError(f"the task {config.target} does not take task.args {config.args}: {error}") from error
