"""Ask an inference server for samples, over the OpenAI completions protocol, and for new weights.

The protocol speaks of text, training needs tokens. They are recovered from the tokens' own texts beside their
log-probabilities, which works with every server whose tokens are the bytes of `launcher.workload.tokens`; one with
another vocabulary is refused. `/update_weights` and `/health` are not part of the protocol: any server needs them here.
"""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from launcher.borders.screen import in_one_line
from launcher.config.serving import INFERENCE_TOKEN
from launcher.errors import UserError
from launcher.workload.rollout.handover import Sample
from launcher.workload.tokens import END, encode, named

PATIENCE = 300.0  # seconds that one request may take
POLL = 0.05  # seconds between looks for a server that is starting
AWAY = (httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT)
_STEP = re.compile(r"step-(\d+)")  # the fingerprint of our own server

T = TypeVar("T")


class ServerLost(UserError):
    """A server that was there has gone, or has been started again without the weights that it was given."""


@dataclass(frozen=True)
class CompletionRequest:
    """What is to be sampled: `n` completions of each prompt."""

    prompts: list[str]
    n: int
    temperature: float
    max_tokens: int
    seed: int


class InferenceClient:
    """One server. Every method raises UserError when it refuses or its answer is no use, ServerLost when it is gone."""

    def __init__(self, url: str, model: str) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self.model = model
        self._step: int | None = None  # of the weights it was given
        self._http = httpx.AsyncClient(base_url=self.url, timeout=PATIENCE, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def wait_until_ready(self, timeout: float) -> None:
        """Return once /health answers 200, at the latest after `timeout` seconds."""
        deadline, last = time.monotonic() + timeout, "it was not asked"
        while time.monotonic() < deadline:
            try:
                answer = await self._http.get("/health", timeout=5.0)
                if answer.status_code == httpx.codes.OK:
                    return
                last = f"/health answered {answer.status_code}"
                if answer.is_client_error:
                    raise UserError(f"{self.url} is no server for this: {last}")
            except httpx.TransportError as error:
                last = str(error) or type(error).__name__
            await asyncio.sleep(POLL)
        raise UserError(f"the inference server at {self.url} was not ready after {timeout:g} s: {last}")

    async def sample(self, request: CompletionRequest) -> list[list[Sample]]:
        """The completions of each prompt, in order."""
        body = {
            "model": self.model,
            "prompt": request.prompts,
            "n": request.n,
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "seed": request.seed,
            "logprobs": 0,
        }
        answer = await self._post("/v1/completions", body)
        self._check_step(answer)
        choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
        if len(choices) != len(request.prompts) * request.n:
            raise UserError(f"{self.url} sent {len(choices)} completions for {len(request.prompts)} x {request.n}")
        prompts = [[END, *encode(prompt)] for prompt in request.prompts]
        samples = [self._sample(prompts[at // request.n], choice) for at, choice in enumerate(choices)]
        return [samples[at : at + request.n] for at in range(0, len(samples), request.n)]

    async def load_weights(self, path: Path, step: int) -> None:
        """Have the server replace its weights by those at `path`, the policy after `step` updates."""
        token = os.environ.get(INFERENCE_TOKEN)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        where = str(path.absolute())
        if where != in_one_line(where):  # no JSON can say it; our server knows where the run's weights are
            where = path.name
        await self._post("/update_weights", {"path": where, "step": step}, headers)
        self._step = step

    def _check_step(self, answer: dict[str, Any]) -> None:
        """Our own server says which weights it has; others are believed."""
        found = _STEP.fullmatch(str(answer.get("system_fingerprint")))
        if found and self._step is not None and int(found.group(1)) != self._step:
            has = f"it has the weights of step {found.group(1)}, not {self._step}"
            raise ServerLost(f"the inference server at {self.url} was started again: {has}")

    def _sample(self, prompt: list[int], choice: dict[str, Any]) -> Sample:
        try:
            logprobs = choice["logprobs"]
            return Sample(prompt, [named(text) for text in logprobs["tokens"]], logprobs["token_logprobs"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{self.url} sends no log-probabilities, which training needs") from error
        except ValueError as error:
            raise UserError(f"{self.url} has another vocabulary: {error}") from error

    def _lost(self, why: str) -> ServerLost:
        return ServerLost(f"the inference server at {self.url} went away: {why}")

    async def _post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        try:
            answer = await self._http.post(path, json=body, headers=headers)
        except httpx.TransportError as error:
            raise self._lost(str(error) or type(error).__name__) from error
        if answer.status_code in AWAY:
            raise self._lost(f"it answered {answer.status_code}")
        if answer.is_error:
            raise UserError(f"{self.url}{path} answered {answer.status_code}: {_message(answer)}")
        return answer.json()


class InferenceServers:
    """Servers of the same model, each of which takes a share of the prompts. Raises what an InferenceClient raises."""

    def __init__(self, urls: str, model: str) -> None:
        self._clients = [InferenceClient(url.strip(), model) for url in urls.split(",")]
        self.url = ", ".join(client.url for client in self._clients)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        for client in self._clients:
            await client.__aexit__(kind, error, trace)

    async def wait_until_ready(self, timeout: float) -> None:
        """Return once all answer."""
        await _together(client.wait_until_ready(timeout) for client in self._clients)

    async def sample(self, request: CompletionRequest) -> list[list[Sample]]:
        """The completions of each prompt, in order."""
        size = -(-len(request.prompts) // len(self._clients))
        shares = [
            replace(request, prompts=request.prompts[start : start + size], seed=request.seed + (start << 32))
            for start in range(0, len(request.prompts), size)
        ]
        pairs = zip(self._clients, shares, strict=False)  # the last ones have nothing to do when prompts are few
        answers = await _together(client.sample(share) for client, share in pairs)
        return [samples for answer in answers for samples in answer]

    async def load_weights(self, path: Path, step: int) -> None:
        """Have all servers replace their weights by those at `path`, the policy after `step` updates."""
        await _together(client.load_weights(path, step) for client in self._clients)


async def _together(work: Iterable[Awaitable[T]]) -> list[T]:
    """All answers; when one of them fails, nobody waits for the others, and none is still on its way afterwards."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _message(answer: httpx.Response) -> str:
    """The message of an error in OpenAI's shape, or else whatever came."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]
