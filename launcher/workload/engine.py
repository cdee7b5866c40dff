"""Answers many requests with one generation: whatever has come by the time the last one is done goes into the next."""

import asyncio
from collections import deque
from pathlib import Path

from launcher.workload.generate import Sampled, Wanted, generate
from launcher.workload.model import Transformer
from launcher.workload.weights import load_weights

WINDOW = 0.002  # seconds that an idle engine waits for more requests to come along


class Engine:
    """One model, one generation at a time, in a thread beside the event loop.

    `step` is how many updates the policy has seen; `max_batch` is how many completions are generated together.
    """

    def __init__(self, model: Transformer, max_batch: int) -> None:
        self.model, self.max_batch, self.step = model, max_batch, 0
        self._queue: deque[tuple[Wanted, asyncio.Future[tuple[Sampled, int]]]] = deque()
        self._asked = asyncio.Event()
        self._idle = asyncio.Lock()

    async def generate(self, wanted: list[Wanted]) -> tuple[list[Sampled], int]:
        """What is wanted, in order, and the step of the policy; the oldest, if the weights changed on the way."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[tuple[Sampled, int]]] = [loop.create_future() for _ in wanted]
        self._queue.extend(zip(wanted, futures, strict=True))
        self._asked.set()
        answers = await asyncio.gather(*futures)
        return [sampled for sampled, _ in answers], min(step for _, step in answers)

    async def update(self, path: Path, step: int) -> None:
        """Load new weights, between two generations. Raises UserError when they do not fit."""
        async with self._idle:
            await asyncio.to_thread(load_weights, self.model, path)
            self.step = step

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._asked.wait()
            await asyncio.sleep(WINDOW)
            while self._queue:
                async with self._idle:
                    await self._serve()
            self._asked.clear()

    async def _serve(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(self.max_batch, len(self._queue)))]
        try:
            sampled = await asyncio.to_thread(generate, self.model, [wanted for wanted, _ in batch])
        except Exception as error:  # one bad generation must not end the server
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), one in zip(batch, sampled, strict=True):
                if not future.done():
                    future.set_result((one, self.step))
