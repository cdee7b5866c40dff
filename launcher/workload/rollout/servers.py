"""The inference servers of a run, as one."""

import asyncio
from collections.abc import Awaitable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from launcher.config.serving import EngineName
from launcher.workload.rollout.client import Completed, CompletionRequest, InferenceClient
from launcher.workload.rollout.vllm import VLLMClient

T = TypeVar("T")


class InferenceServers:
    """Servers of the same model; each request goes to the one with fewest in flight. Raises what a client raises."""

    def __init__(self, urls: str, model: str, engine: EngineName = "builtin") -> None:
        client = VLLMClient if engine == "vllm" else InferenceClient
        self._clients: list[InferenceClient] = [client(url.strip(), model) for url in urls.split(",")]
        self.url = ", ".join(client.url for client in self._clients)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        for client in self._clients:
            await client.__aexit__(kind, error, trace)

    async def wait_until_ready(self, timeout: float) -> None:
        """Return once all answer."""
        await together(client.wait_until_ready(timeout) for client in self._clients)

    async def context(self) -> int | None:
        """The longest sequence that each of them takes, in tokens. None if no server says."""
        known = await together(client.context() for client in self._clients)
        return min((context for context in known if context is not None), default=None)

    async def complete(self, request: CompletionRequest) -> list[Completed]:
        """The completions of a prompt."""
        return await min(self._clients, key=lambda client: client.in_flight).complete(request)

    async def load_weights(self, path: Path, step: int) -> None:
        """Have all servers replace their weights by those at `path`, the policy after `step` updates."""
        await together(client.load_weights(path, step) for client in self._clients)


async def together(work: Iterable[Awaitable[T]]) -> list[T]:
    """All answers; when one of them fails, nobody waits for the others, and none is still on its way afterwards."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
