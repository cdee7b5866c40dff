"""An environment of `verifiers` of one turn: reverse a word. What the model `tiny` can learn."""

import random
from collections.abc import Iterator
from string import ascii_lowercase

import verifiers.v1 as vf

__all__ = ["ReverseTaskset"]


class ReverseConfig(vf.TasksetConfig):
    length: int = 3
    tasks: int = 400
    broken: float = 0.0  # share of the rewards that raise


class ReverseData(vf.TaskData):
    answer: str
    broken: float


class ReverseTask(vf.Task[ReverseData]):
    @vf.reward
    async def right(self, trace: vf.Trace) -> float:
        if random.Random(trace.last_reply).random() < self.data.broken:
            raise ValueError("there is no such word")
        given = trace.last_reply
        right = sum(a == b for a, b in zip(self.data.answer, given, strict=False))
        return right / max(len(self.data.answer), len(given))

    @vf.metric
    async def letters(self, trace: vf.Trace) -> float:
        return len(trace.last_reply)


class ReverseTaskset(vf.Taskset[ReverseTask, ReverseConfig]):
    def load(self) -> Iterator[ReverseTask]:
        draw = random.Random(0)
        for _ in range(self.config.tasks):
            word = "".join(draw.choices(ascii_lowercase, k=self.config.length))
            yield ReverseTask(ReverseData(prompt=f"{word}>", answer=word[::-1], broken=self.config.broken))
