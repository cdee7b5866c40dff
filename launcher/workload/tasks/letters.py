"""The tasks that need no file and no model that can read: short texts with one right answer."""

import random
from string import ascii_lowercase
from zlib import crc32

from launcher.workload.tasks.task import HELD_OUT_SHARE


class OneAnswer:
    """Prompts with one right answer each. The reward is the share of letters at their place.

    It is over the longer of answer and completion. Lengths are in bytes: counted in characters, a policy that never
    stops is well paid for one of three bytes at the end.
    """

    quick = True

    def prompts(self, seed: int, start: int, count: int) -> list[str]:
        return [self._prompt(f"{seed}/{index}", held_out=False) for index in range(start, start + count)]

    def held_out(self, count: int) -> list[str]:
        return [self._prompt(f"held out/{index}", held_out=True) for index in range(count)]

    def reward(self, prompt: str, completion: str) -> float:
        answer, given = self.answer(prompt).encode(), completion.encode()
        right = sum(a == b for a, b in zip(answer, given, strict=False))
        return right / max(len(answer), len(given))

    def answer(self, prompt: str) -> str:
        raise NotImplementedError

    def draw(self, random: random.Random) -> str:
        """Some prompt."""
        raise NotImplementedError

    def _prompt(self, key: str, held_out: bool) -> str:
        draw = random.Random(key)
        while True:
            prompt = self.draw(draw)
            if (crc32(prompt[:-1].encode()) % HELD_OUT_SHARE == 0) == held_out:
                return prompt


class ReverseText(OneAnswer):
    """`hello>` is to be completed with `olleh`, for random lowercase strings of one length."""

    def __init__(self, length: int = 5) -> None:
        if length < 1:
            raise ValueError("length must be 1 or more")
        self.length = length

    def draw(self, random: random.Random) -> str:
        return f"{''.join(random.choices(ascii_lowercase, k=self.length))}>"

    def answer(self, prompt: str) -> str:
        return prompt.removesuffix(">")[::-1]


class Arithmetic(OneAnswer):
    """`7+35=` is to be completed with `42`, for numbers of up to so many digits."""

    def __init__(self, digits: int = 2) -> None:
        if not 1 <= digits <= 18:
            raise ValueError("digits must be from 1 to 18")
        self.largest = 10**digits - 1

    def draw(self, random: random.Random) -> str:
        return f"{random.randint(0, self.largest)}+{random.randint(0, self.largest)}="

    def answer(self, prompt: str) -> str:
        return str(sum(map(int, prompt.removesuffix("=").split("+"))))
