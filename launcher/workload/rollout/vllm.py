"""A vLLM server: how it loads weights, and how to know which ones a completion was sampled by.

Its endpoints for weights are those of its development mode (VLLM_SERVER_DEV_MODE=1). It keeps a version that we give
it with the weights; one that was started again has another, and what it has sampled is dropped.

Requests have no seeds. They would promise nothing, since its samples depend on what they are batched with, and on a
CPU vLLM 0.32 ends with "CPU Generator does not use offset" when a prompt with a seed is read in two parts.
"""

import asyncio
import secrets
from http import HTTPStatus
from pathlib import Path
from typing import Any

from launcher.errors import UserError
from launcher.workload.rollout.client import CompletionRequest, InferenceClient, ServerLost

NEUTRAL = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
"""A model's own defaults would make the log-probabilities those of another distribution."""


class VLLMClient(InferenceClient):
    """Like an InferenceClient, which see. Each prompt is a request of its own: none waits for a longer one."""

    most_together = 1

    def __init__(self, url: str, model: str) -> None:
        super().__init__(url, model)
        self._lives = 0  # grows whenever the server may have sampled by weights that nobody knows
        self._versions: set[str] = set()  # that it was given in this life
        self._mine = secrets.token_hex(4)  # other orchestrators' versions are not ours
        self._checking: asyncio.Task[None] | None = None

    def _body(self, requests: list[CompletionRequest]) -> dict[str, Any]:
        return super()._body(requests) | NEUTRAL | {"seed": None}

    async def _sample(self, body: dict[str, Any]) -> tuple[Any, int]:
        """Completions are counted to the weights that the server had when it was asked: a pause keeps requests."""
        life, given = self._lives, self._given[-1:]
        answer = await self._post("/v1/completions", body)
        await self._check_version()
        if not given or life != self._lives:
            raise self._restarted("what it has sampled is of unknown weights")
        return answer, given[0]

    async def load_weights(self, path: Path, step: int) -> None:
        is_new = await self._version() not in self._versions
        if is_new:
            self._forget()
        version = f"{self._mine}-{step}"
        await self._post("/pause", None, params={"mode": "keep"})
        try:
            await self._post(
                "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(path.absolute())}}
            )
            await self._post("/reset_prefix_cache", None)
            await self._post("/update_weight_version", {"new_version": version})
        finally:
            await self._post("/resume", None)
        if is_new:
            self._forget()  # what it was asked for meanwhile
        self._versions.add(version)
        self._given.append(step)

    def _forget(self) -> None:
        self._lives += 1
        self._versions.clear()

    async def _check_version(self) -> None:
        """Raises ServerLost if the server was started again. Answers that come together are checked together.

        The question is asked after the answer has come: so a new task, unless one has not begun yet.
        """
        if self._checking is None:
            self._checking = asyncio.create_task(self._ask_version())
        await asyncio.shield(self._checking)

    async def _ask_version(self) -> None:
        await asyncio.sleep(0)  # whoever comes until now is served by it
        self._checking = None
        found = await self._version()
        if found not in self._versions:
            raise self._restarted(f"it has the weights {found!r}")

    async def _version(self) -> str:
        try:
            return str((await self._ask("GET", "/weight_info"))["weight_version"])
        except (UserError, KeyError, TypeError) as error:
            if isinstance(error, ServerLost):
                raise
            hint = "start it with VLLM_SERVER_DEV_MODE=1, vLLM 0.32 or newer"
            raise UserError(f"{self.url} does not say which weights it has: {error}", hint) from error

    def _restarted(self, why: str) -> ServerLost:
        return ServerLost(f"the inference server at {self.url} was started again: {why}")

    def _is_away(self, status: int) -> bool:
        """A server whose engine has died answers 500 until it ends."""
        return status >= HTTPStatus.INTERNAL_SERVER_ERROR
