"""The inference servers of a run, as one: each request goes to one of them, the weights to all."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from launcher.config.serving import EngineName
from launcher.errors import UserError
from launcher.instrumentation.waiting import waiting_for
from launcher.logger import get_logger
from launcher.workload.rollout.client import Completed, CompletionRequest, InferenceClient, ServerLost
from launcher.workload.rollout.vllm import VLLMClient

T = TypeVar("T")

RETRY = 0.5  # seconds before a server that was lost is asked once more
LOSSES = 5  # of servers over one request, after which nobody is asked again

Published = Callable[[int, bool], tuple[int, Path]]
"""(the least number of updates, whether newer weights are welcome) -> (updates, directory) of published weights."""


@dataclass(eq=False)
class Server:
    client: InferenceClient
    step: int = -1  # updates that its weights have had; -1 before the first
    losses: int = 0
    returning: "asyncio.Task[None] | None" = None  # while it is lost

    def check(self) -> None:
        """Raises UserError if it was lost and has not come back in time."""
        if self.returning and self.returning.done():
            self.returning.result()


@dataclass
class InferenceServers:
    """Servers of the same model. Raises what a client raises; ServerLost only where nobody publishes weights.

    One that is lost is not asked until it is back and has the weights of the others, which serve meanwhile.
    """

    urls: str
    model: str
    engine: EngineName = "builtin"
    published: Published | None = None
    patience: float = 0.0  # seconds for a server that was lost to come back
    servers: list[Server] = field(init=False)
    step: int = -1  # updates that the weights of all who serve have had; -1 before the first
    given: int = -1  # updates of the weights that they have, or are about to get

    def __post_init__(self) -> None:
        client = VLLMClient if self.engine == "vllm" else InferenceClient
        self.servers = [Server(client(url.strip(), self.model)) for url in self.urls.split(",")]
        self.url = ", ".join(server.client.url for server in self.servers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        returning = [server.returning for server in self.servers if server.returning]
        for task in returning:
            task.cancel()
        await asyncio.gather(*returning, return_exceptions=True)
        for server in self.servers:
            await server.client.__aexit__(kind, error, trace)

    async def wait_until_ready(self, timeout: float) -> None:
        """Return once all answer."""
        await together(server.client.wait_until_ready(timeout) for server in self.servers)

    async def context(self) -> int | None:
        """The longest sequence that each of them takes, in tokens. None if no server says."""
        known = await together(server.client.context() for server in self.servers)
        return min((context for context in known if context is not None), default=None)

    async def complete(self, request: CompletionRequest) -> list[Completed]:
        """The completions of a prompt, by the server with fewest in flight. One that is lost meanwhile is replaced."""
        for _ in range(LOSSES):
            server = min(await self._there(), key=lambda server: server.client.in_flight)
            losses = server.losses
            try:
                return await server.client.complete(request)
            except ServerLost as error:
                lost = error
                self._lose(server, losses, error)
        raise lost

    async def load_weights(self, path: Path, step: int) -> None:
        """Have all servers replace their weights by those at `path`, the policy after `step` updates."""
        self.given = max(self.given, step)
        await together(self._load(server, path, step) for server in await self._there())
        await self._there()
        self._settle()

    async def _load(self, server: Server, path: Path, step: int) -> None:
        losses = server.losses
        try:
            if server.step < step:
                await server.client.load_weights(path, step)
                server.step = max(server.step, step)
        except ServerLost as lost:
            self._lose(server, losses, lost)

    def _settle(self) -> None:
        steps = [server.step for server in self.servers if server.returning is None]
        self.step = max(self.step, min(steps, default=-1))

    async def _there(self) -> list[Server]:
        """Those that can be asked. If there are none, it waits for the first to come back. Raises UserError."""
        while True:
            for server in self.servers:
                server.check()
            if there := [server for server in self.servers if server.returning is None]:
                return there
            with waiting_for("inference to come back"):
                returning = [server.returning for server in self.servers if server.returning]
                await asyncio.wait(returning, return_when=asyncio.FIRST_COMPLETED)

    # --- a server that was lost ---

    def _lose(self, server: Server, losses: int, lost: ServerLost) -> None:
        """`losses` is how often it had been lost when it was asked."""
        if self.published is None:
            raise lost
        if server.returning is None and losses == server.losses:  # no other request has noticed
            server.losses += 1
            others = any(other.returning is None for other in self.servers if other is not server)
            meanwhile = ", the others serve" if others else ""
            get_logger().warning("{}; waiting for it up to {:g} s{}", lost.message, self.patience, meanwhile)
            server.returning = asyncio.create_task(self._bring_back(server, self.published))

    async def _bring_back(self, server: Server, published: Published) -> None:
        """Wait until it is back, and give it the newest weights before it is asked for anything."""
        deadline, client = time.monotonic() + self.patience, server.client
        while True:
            await client.wait_until_ready(self.patience)
            is_alone = all(other.returning for other in self.servers)
            step, path = published(max(self.given, 0), is_alone)
            try:
                await client.load_weights(path, step)
            except ServerLost:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(RETRY)  # it may be on its way down, and answer for a moment longer
            except UserError:
                if step >= self.given:
                    raise  # otherwise they were removed meanwhile: all others have newer ones
            else:
                if step >= self.given:  # since the others may have got newer ones
                    break
        server.step, server.returning, self.given = step, None, step
        self._settle()
        get_logger().info("inference at {} is back, with the weights of step {}", client.url, step)


async def together(work: Iterable[Awaitable[T]]) -> list[T]:
    """All answers; when one of them fails, nobody waits for the others, and none is still on its way afterwards."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
