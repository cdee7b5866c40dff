"""The policy, as the inference servers have it: which weights they have, and what to do when one of them is lost."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from launcher.errors import UserError
from launcher.instrumentation.marks import mark
from launcher.instrumentation.waiting import waiting_for
from launcher.logger import get_logger
from launcher.rundir import RunDir
from launcher.workload.rollout.client import Completed, CompletionRequest
from launcher.workload.rollout.handover import newest_weights
from launcher.workload.rollout.servers import InferenceServers

POLL = 0.005  # seconds between looks at the directory of the weights


@dataclass
class Policy:
    """Raises UserError when the servers or the trainer do not do their part within the timeouts (seconds)."""

    run: RunDir
    client: InferenceServers
    inference_timeout: float
    weights_timeout: float
    load_seconds: float = 0.0  # that the servers took to load the newest weights
    _steady: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while the servers get other weights

    def __post_init__(self) -> None:
        self.client.published, self.client.patience = self._published, self.inference_timeout

    @property
    def step(self) -> int:
        """Updates that the servers' weights have had; -1 before the first."""
        return self.client.step

    async def wait_until_ready(self) -> None:
        with waiting_for(f"inference at {self.client.url} to be ready"):
            await self.client.wait_until_ready(self.inference_timeout)
        mark("inference", waits_for="inference")
        get_logger().info("inference at {} is ready", self.client.url)

    async def reach(self, oldest: int, newest: int) -> None:
        """Give the servers the newest weights of these steps, if they have not got them; wait until there are any."""
        deadline = time.monotonic() + self.weights_timeout
        while (step := newest_weights(self.run, max(oldest, self.step + 1), newest)) is None and self.step < oldest:
            with waiting_for(f"weights {oldest}"):
                while newest_weights(self.run, oldest, newest) is None:
                    if time.monotonic() > deadline:
                        waited = f"after {self.weights_timeout:g} s"
                        raise UserError(f"no weights of step {oldest} {waited}", "is the trainer alive? see its log")
                    await asyncio.sleep(POLL)
        if step is not None:
            await self._load(step)

    async def ask(self, request: CompletionRequest) -> list[Completed]:
        """The completions of one prompt. If a server is lost meanwhile, all of them are asked for again."""
        async with self._steady:
            pass  # a request that begins now is sampled by the new weights
        completed = await self.client.complete(request)
        mark("first rollout")
        return completed

    async def _load(self, step: int) -> None:
        async with self._steady:
            if step <= self.step:
                return
            started = time.monotonic()
            with waiting_for(f"inference to load weights {step}"):
                await self.client.load_weights(self.run.weights(step), step)
            self.load_seconds = time.monotonic() - started

    def _published(self, step: int, or_newer: bool) -> tuple[int, Path]:
        """Weights for a server that comes back: those of the others, or the newest where it is the only one."""
        found = newest_weights(self.run, step, None if or_newer else step)
        assert found is not None  # the trainer keeps those of the policy that sampled last
        return found, self.run.weights(found)
