"""What a task is: prompts, and how good a completion is.

A task of your own is any class with these four methods; name it as `--task my_package.my_task:MyTask`, and its
constructor's arguments as `[task.args]`.
"""

from collections.abc import Awaitable
from typing import Protocol

from launcher.borders.problems import Prompt

HELD_OUT_SHARE = 8  # one prompt in so many is never trained on


class Task(Protocol):
    """A prompt is text, or a list of chat messages for the model's chat template."""

    def prompts(self, seed: int, start: int, count: int) -> list[Prompt]:
        """Prompts `start` to `start + count` of an endless stream for training; the same for the same seed."""
        ...

    def held_out(self, count: int) -> list[Prompt]:
        """Prompts for evaluation, `count` or fewer: always the same, and none of them ever in `prompts`."""
        ...

    def reward(self, prompt: Prompt, completion: str) -> float | Awaitable[float]:
        """How good the completion is, usually from 0 to 1; 1 or more counts as solved. May be a coroutine.

        It is called in a thread, several at a time, unless the class says `quick = True`.
        """
        ...

    def answer(self, prompt: Prompt) -> str:
        """A completion that solves the prompt, for supervised fine-tuning."""
        ...
