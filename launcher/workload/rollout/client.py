"""Ask inference servers for completions, over the OpenAI protocol with token ids, and have them load new weights.

Every completion is counted to the policy that sampled it. Our own server says with each answer which weights it has.
vLLM keeps a version that we give it (see `launcher.workload.rollout.vllm`), and is asked for it after each answer: one
that was started again does not know it, and what it has sampled is dropped.
"""

import asyncio
import json
import math
import re
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from http import HTTPStatus
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import aiohttp

from launcher.borders.screen import in_one_line
from launcher.config.serving import MOST_DRAWS
from launcher.errors import UserError
from launcher.workload.rollout.connections import open_session, send

MOST_SEEDS = 1 << 62  # of a request
MOMENT = 0.001  # seconds within which requests count as simultaneous
POLL = 0.05  # seconds between looks for a server that is starting
AWAY = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
GONE = (aiohttp.ClientError, TimeoutError)
MOST_TOKEN = 2**31 - 1
_STEP = re.compile(r"step-(\d+)")  # the fingerprint of our own server


class ServerLost(UserError):
    """A server that was there has gone, or has been started again without the weights that it was given."""


@dataclass(frozen=True)
class CompletionRequest:
    """What is to be sampled: `n` completions of one prompt."""

    prompt_tokens: list[int]
    n: int
    temperature: float
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Completed:
    """A completion. `tokens` has the end token, if it came, and `logprobs` one number for each of them."""

    tokens: list[int]
    logprobs: list[float]
    is_cut: bool  # it came to max_tokens
    policy_step: int  # updates of the oldest policy that sampled any of it


_Asked = tuple[CompletionRequest, "asyncio.Future[list[Completed]]"]


class InferenceClient:
    """One server. Every method raises UserError if it refuses or its answer is unusable, ServerLost if it is gone.

    What is asked for at the same time goes to the server in one request, since our own server generates it together.
    """

    most_together: ClassVar[int] = 512  # completions of one HTTP request

    def __init__(self, url: str, model: str) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self.model = model
        self.in_flight = 0  # requests
        self._waiting: list[_Asked] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._given: list[int] = []  # the steps of the weights that it was given, in order

    @cached_property
    def _http(self) -> aiohttp.ClientSession:
        return open_session()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        for task in [*self._sending]:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._http.close()

    async def wait_until_ready(self, timeout: float) -> None:
        """Return once /health answers 200, at the latest after `timeout` seconds."""
        deadline, last = time.monotonic() + timeout, "it was not asked"
        quick = aiohttp.ClientTimeout(total=5.0)
        while time.monotonic() < deadline:
            try:
                status, _ = await send(self._http, "GET", f"{self.url}/health", timeout=quick)
                if status == HTTPStatus.OK:
                    return
                last = f"/health answered {status}"
                if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise UserError(f"{self.url} is not an inference server: {last}")
            except GONE as error:
                last = str(error) or type(error).__name__
            await asyncio.sleep(POLL)
        raise UserError(f"the inference server at {self.url} was not ready after {timeout:g} s: {last}")

    async def context(self) -> int | None:
        """The longest sequence that its model takes, in tokens. None if the server does not say."""
        try:
            models = (await self._ask("GET", "/v1/models"))["data"]
            found = next(model["max_model_len"] for model in models if model["id"] == self.model)
        except (UserError, KeyError, TypeError, StopIteration):
            return None
        return found if type(found) is int and found > 0 else None

    async def complete(self, request: CompletionRequest) -> list[Completed]:
        """The completions of a prompt."""
        answer: asyncio.Future[list[Completed]] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            self._start(self._send_waiting())
        self._waiting.append((request, answer))
        self.in_flight += 1
        try:
            return await answer
        finally:
            self.in_flight -= 1

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return task

    async def _send_waiting(self) -> None:
        await asyncio.sleep(MOMENT)
        waiting, self._waiting = self._waiting, []
        for group in _alike(waiting, self.most_together):
            task = self._start(self._send(group))
            for _, answer in group:
                answer.add_done_callback(partial(_leave, task, group))

    async def _send(self, group: list[_Asked]) -> None:
        """Ask for all of the group, and give each its own."""
        try:
            completed = await self._completed_all([request for request, _ in group])
        except Exception as error:
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for at, (request, future) in enumerate(group):
            if not future.done():
                future.set_result(completed[at * request.n : (at + 1) * request.n])

    async def _completed_all(self, requests: list[CompletionRequest]) -> list[Completed]:
        answer, step = await self._sample(self._body(requests))
        choices = self._choices(answer)
        if len(choices) != (wanted := sum(request.n for request in requests)):
            raise UserError(f"{self.url} sent {len(choices)} completions, not {wanted}")
        return [self._completed(choice, step) for choice in choices]

    def _choices(self, answer: Any) -> list[dict[str, Any]]:
        try:
            return sorted(answer["choices"], key=lambda choice: int(choice["index"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.url} sent no completions: no list of choices, each with its index") from error

    async def load_weights(self, path: Path, step: int) -> None:
        """Have the server replace its weights by those at `path`, the policy after `step` updates."""
        where = str(path.absolute())
        if where != in_one_line(where):  # no JSON can say it; our server knows where the run's weights are
            where = path.name
        self._given.append(step)  # from now on completions may be of this policy
        await self._post("/update_weights", {"path": where, "step": step})

    def _body(self, requests: list[CompletionRequest]) -> dict[str, Any]:
        first, is_one = requests[0], len(requests) == 1
        return {
            "model": self.model,
            "prompt": first.prompt_tokens if is_one else [request.prompt_tokens for request in requests],
            "n": first.n,
            "temperature": first.temperature,
            "max_tokens": first.max_tokens,
            "seed": first.seed if is_one else [request.seed for request in requests],
            "logprobs": 0,
            "return_token_ids": True,
        }

    async def _sample(self, body: dict[str, Any]) -> tuple[Any, int]:
        """The server's answer, and the step of the oldest policy that had a part in it."""
        given = len(self._given)
        answer = await self._post("/v1/completions", body)
        return answer, self._sampled_by(answer, self._given[max(0, given - 1) :])

    def _sampled_by(self, answer: Any, possible: list[int]) -> int:
        """The policy that sampled an answer, which must be one of those that the server has had meanwhile, if any."""
        found = _STEP.fullmatch(str(answer.get("system_fingerprint"))) if isinstance(answer, dict) else None
        if found is None:
            raise UserError(f"{self.url} does not say which weights it has: it is not a server of launch")
        step = int(found.group(1))
        if possible and step not in possible:
            has = f"it has the weights of step {step}, not {possible[-1]}"
            raise ServerLost(f"the inference server at {self.url} was started again: {has}")
        return step

    def _completed(self, choice: dict[str, Any], step: int) -> Completed:
        try:
            tokens, logprobs = list(choice["token_ids"]), list(choice["logprobs"]["token_logprobs"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{self.url} sends no token ids with log-probabilities, which training needs") from error
        if len(tokens) != len(logprobs):
            raise UserError(f"{self.url} sent {len(tokens)} tokens with {len(logprobs)} log-probabilities")
        if not (_are_tokens(tokens) and _are_finite(logprobs)):
            raise UserError(f"{self.url} sent tokens or log-probabilities that are no numbers of that kind")
        return Completed(tokens, logprobs, choice.get("finish_reason") == "length", step)

    def _lost(self, why: str) -> ServerLost:
        return ServerLost(f"the inference server at {self.url} went away: {why}")

    async def _post(self, path: str, body: dict[str, Any] | None, **more: Any) -> Any:
        return await self._ask("POST", path, json=body, **more)

    async def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            status, content = await send(self._http, method, f"{self.url}{path}", **more)
        except GONE as error:
            raise self._lost(str(error) or type(error).__name__) from error
        if self._is_away(status):
            raise self._lost(f"it answered {status}: {_message(content)}".removesuffix(": "))
        if status >= HTTPStatus.BAD_REQUEST:
            raise UserError(f"{self.url}{path} answered {status}: {_message(content)}")
        try:
            return json.loads(content) if content else None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.url}{path} answered {status} without JSON: {_start(content)}") from error

    def _is_away(self, status: int) -> bool:
        return status in AWAY


def _alike(waiting: list[_Asked], most: int) -> Iterator[list[_Asked]]:
    """Groups that one HTTP request can ask for, of at most so many completions and MOST_DRAWS, or of one prompt."""

    def kind(asked: _Asked) -> tuple[int, float, int]:
        return asked[0].n, asked[0].temperature, asked[0].max_tokens

    for (n, _, max_tokens), same in groupby(sorted(waiting, key=kind), kind):
        group, size = [*same], max(1, min(most, MOST_DRAWS // max_tokens) // n)
        yield from (group[start : start + size] for start in range(0, len(group), size))


def _leave(task: "asyncio.Task[None]", group: list[_Asked], _: "asyncio.Future[list[Completed]]") -> None:
    """When nobody waits for the answer any more, the server is not kept at it."""
    if all(answer.cancelled() for _, answer in group):
        task.cancel()


def _message(content: bytes) -> str:
    """The message of an error in OpenAI's shape, or else the start of whatever came, in one line."""
    try:
        return in_one_line(str(json.loads(content)["error"]["message"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return _start(content)


def _start(content: bytes) -> str:
    return in_one_line(content[:300].decode(errors="replace"))


def _are_tokens(values: list[Any]) -> bool:
    return {*map(type, values)} <= {int} and (not values or (min(values) >= 0 and max(values) <= MOST_TOKEN))


def _are_finite(values: list[Any]) -> bool:
    try:
        return {*map(type, values)} <= {int, float} and math.isfinite(sum(values))
    except OverflowError:  # an int such as 10**400
        return False
