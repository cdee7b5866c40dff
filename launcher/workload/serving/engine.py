"""Answers many requests with one generation: whatever has come by the time the last one is done goes into the next."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from transformers import PreTrainedModel

from launcher.errors import UserError
from launcher.workload.models.generate import Sampled, SamplingRequest, generate
from launcher.workload.models.weights import read_update, take_update

WINDOW = 0.002  # seconds without a further request after which an idle engine begins
LONGEST_WINDOW = 0.02  # seconds after which it begins however many come
LONGEST_QUEUE = 65_536  # completions
READ_WITHIN = 120.0  # seconds that a file system may take to deliver new weights


class QueueFull(Exception):
    """Too many completions are waiting already."""


class Closing(Exception):
    """The server is being ended."""


@dataclass(eq=False)
class _Asked:
    """The completions of one request, and how many of them are still to be sampled."""

    wanted: Sequence[SamplingRequest]
    answer: "asyncio.Future[None]"
    sampled: list[Sampled] = field(default_factory=list)
    taken: int = 0  # completions that are in a generation, or have been
    step: int | None = None  # of the oldest policy that sampled any of them

    @property
    def left(self) -> int:
        return len(self.wanted) - self.taken


_Share = tuple[_Asked, Sequence[SamplingRequest]]
"""A request and what a generation makes of it."""


class Engine:
    """One model, one generation at a time, in a thread beside the event loop.

    `step` is how many updates the policy has seen; `ends` are the tokens that end a completion; `max_batch` is how many
    completions are generated together. Requests take turns: each gives one completion to a batch, and again, until the
    batch is full.
    """

    def __init__(self, model: PreTrainedModel, ends: frozenset[int], max_batch: int) -> None:
        self.model, self.ends, self.max_batch, self.step = model, ends, max_batch, 0
        self._requests: deque[_Asked] = deque()  # of which some completion is in no generation yet
        self._waiting = 0  # completions in no generation yet
        self._is_closing = False
        self._answers: set[asyncio.Future[None]] = set()
        self._come = asyncio.Event()
        self._idle = asyncio.Lock()
        self._updating = asyncio.Lock()

    async def generate(self, wanted: Sequence[SamplingRequest]) -> tuple[list[Sampled], int]:
        """What is wanted, in order, and the step of the policy; the oldest, if the weights changed on the way.

        A cancelled call leaves the queue. Raises QueueFull and Closing.
        """
        self.check_room(len(wanted))
        asked = _Asked(wanted, asyncio.get_running_loop().create_future())
        self._requests.append(asked)
        self._answers.add(asked.answer)
        self._waiting += len(wanted)
        self._come.set()
        try:
            await asked.answer
        finally:
            self._forget(asked)
        assert asked.step is not None
        return asked.sampled, asked.step

    def check_room(self, count: int) -> None:
        """Raises QueueFull when there is no room for so many completions, and Closing."""
        self.check_open()
        if self._waiting + count > LONGEST_QUEUE:
            raise QueueFull

    def check_open(self) -> None:
        """Raises Closing once the server is being ended."""
        if self._is_closing:
            raise Closing

    def close(self) -> None:
        """Take no more requests; those that have come are still answered."""
        self._is_closing = True

    def abandon(self) -> None:
        """Answer nothing more: who still waits gets Closing."""
        for answer in self._answers:
            if not answer.done():
                answer.set_exception(Closing())

    async def update(self, path: Path, root: Path, step: int) -> None:
        """Load new weights from a directory below `root`, between two generations.

        Raises UserError when they do not fit; the model is then as it was.
        """
        async with self._updating:
            try:
                reading = asyncio.to_thread(read_update, self.model, path, root, step)
                weights = await asyncio.wait_for(reading, READ_WITHIN)
            except TimeoutError:
                raise UserError(f"{path} could not be read within {READ_WITHIN:g}s") from None
            async with self._idle:
                await asyncio.to_thread(take_update, self.model, weights)
                self.step = step

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._come.wait()
            await self._wait_for_more()
            while self._requests:
                async with self._idle:
                    await self._serve()
            self._come.clear()

    async def _wait_for_more(self) -> None:
        """Clients that ask at the same time are answered together."""
        deadline, seen = time.monotonic() + LONGEST_WINDOW, 0
        while seen < self._waiting < self.max_batch and time.monotonic() < deadline:
            seen = self._waiting
            await asyncio.sleep(WINDOW)

    async def _serve(self) -> None:
        batch = self._next_batch()
        rows = [one for _, wanted in batch for one in wanted]
        try:
            sampled = iter(await asyncio.to_thread(generate, self.model, self.ends, rows, lambda: _is_awaited(batch)))
        except Exception as error:  # one bad generation must not end the server
            for asked, _ in batch:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
            return
        for asked, wanted in batch:
            self._take(asked, list(islice(sampled, len(wanted))))

    def _next_batch(self) -> list[_Share]:
        """The next completions of the requests in turn; who has had no turn is the first one of the next batch."""
        firsts: dict[_Asked, int] = {}
        for _ in range(min(self.max_batch, self._waiting)):
            asked = self._requests.popleft()
            firsts.setdefault(asked, asked.taken)
            asked.taken += 1
            if asked.left:
                self._requests.append(asked)
        batch = [(asked, asked.wanted[first : asked.taken]) for asked, first in firsts.items()]
        self._waiting -= sum(len(wanted) for _, wanted in batch)
        return batch

    def _take(self, asked: _Asked, sampled: list[Sampled]) -> None:
        asked.sampled += sampled
        asked.step = self.step if asked.step is None else min(asked.step, self.step)
        if len(asked.sampled) == len(asked.wanted) and not asked.answer.done():
            asked.answer.set_result(None)

    def _forget(self, asked: _Asked) -> None:
        """The request has been answered, or nobody waits for its answer any more."""
        self._answers.discard(asked.answer)
        if asked in self._requests:
            self._requests.remove(asked)
            self._waiting -= asked.left


def _is_awaited(batch: list[_Share]) -> bool:
    return any(not asked.answer.done() for asked, _ in batch)
