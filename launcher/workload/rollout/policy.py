"""The policy, as the inference servers have it: which weights they have, and what to do when one of them is lost."""

import asyncio
import time
from dataclasses import dataclass, field

from launcher.errors import UserError
from launcher.instrumentation.marks import mark
from launcher.instrumentation.waiting import waiting_for
from launcher.logger import get_logger
from launcher.rundir import RunDir
from launcher.workload.rollout.client import Completed, CompletionRequest, ServerLost
from launcher.workload.rollout.handover import newest_weights
from launcher.workload.rollout.servers import InferenceServers

POLL = 0.005  # seconds between looks at the directory of the weights
RETRY = 0.5  # seconds before a server that was lost is asked once more
LOSSES = 5  # of a server over one request, after which it is not asked again


@dataclass
class Policy:
    """Raises UserError when the servers or the trainer do not do their part within the timeouts (seconds)."""

    run: RunDir
    client: InferenceServers
    inference_timeout: float
    weights_timeout: float
    step: int = -1  # updates that the servers' weights have had; -1 before the first
    load_seconds: float = 0.0  # that the servers took to load them
    _losses: int = 0
    _steady: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while the servers get other weights

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
        """The completions of one prompt. A server that is lost meanwhile is asked again for all of them."""
        for _ in range(LOSSES):
            async with self._steady:
                losses = self._losses
            try:
                completed = await self.client.complete(request)
            except ServerLost as error:
                lost = error
                async with self._steady:
                    if losses == self._losses:  # no other request has noticed
                        await self._recover(lost)
            else:
                mark("first rollout")
                return completed
        raise lost

    async def _load(self, step: int) -> None:
        async with self._steady:
            if step <= self.step:
                return
            started = time.monotonic()
            try:
                with waiting_for(f"inference to load weights {step}"):
                    await self.client.load_weights(self.run.weights(step), step)
                self.step, self.load_seconds = step, time.monotonic() - started
            except ServerLost as lost:
                await self._recover(lost)

    async def _recover(self, lost: ServerLost) -> None:
        """Wait until the servers are back, and give them the newest weights before they are asked for anything."""
        get_logger().warning("{}; waiting for it up to {:g} s", lost.message, self.inference_timeout)
        deadline = time.monotonic() + self.inference_timeout
        while True:
            with waiting_for("inference to come back"):
                await self.client.wait_until_ready(self.inference_timeout)
            step = newest_weights(self.run, max(self.step, 0))
            assert step is not None  # the trainer keeps those of the policy that sampled last
            try:
                await self.client.load_weights(self.run.weights(step), step)
                break
            except ServerLost:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(RETRY)  # it may be on its way down, and answer for a moment longer
        self.step, self._losses = step, self._losses + 1
        get_logger().info("inference at {} is back, with the weights of step {}", self.client.url, step)
