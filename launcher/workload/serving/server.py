"""The inference server: HTTP in front of the engine."""

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from math import ceil
from types import FrameType

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from launcher.config.serving import INFERENCE_TOKEN, LOOPBACK, InferenceConfig
from launcher.errors import UserError
from launcher.instrumentation.marks import mark
from launcher.logger import get_logger
from launcher.workload.entry import run_dir
from launcher.workload.models.find import find_model
from launcher.workload.models.generate import Completions, Sampled
from launcher.workload.models.load import context_of, end_tokens, load_model
from launcher.workload.models.tokenizer import load_tokenizer
from launcher.workload.ranks import pick_device
from launcher.workload.serving.engine import LONGEST_QUEUE, Closing, Engine, QueueFull
from launcher.workload.serving.http import Access, PatientProtocol, read_body, while_connected
from launcher.workload.serving.protocol import (
    CompletionRequest,
    RequestError,
    Text,
    UpdateRequest,
    completion,
    models,
    parse,
)

MARGIN = 1.0  # seconds before the end of the grace at which what is still unanswered is given up


def serve(config: InferenceConfig) -> int:
    """Serve until SIGTERM; the process's exit code comes back. Raises UserError when the port is taken."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address = config.host or LOOPBACK
    access = Access(run_dir(config).all_weights, address, os.environ.pop(INFERENCE_TOKEN, None))
    with bind(address, config.port) as listener:
        engine, text = load(find_model(config.model, config), config)
        mark("model")
        host, port = listener.getsockname()[:2]
        get_logger().info("serving {} at http://{}:{}", config.model_name, host, port)
        # uvicorn handles the signal first, and raises it again once it has shut down
        Server(engine, make_app(engine, text, config.model_name, access), config.grace).run([listener])
    return 0


def load(name: str, config: InferenceConfig) -> tuple[Engine, Text]:
    """The model at a directory or hub id, and its words. Raises UserError when one of them is missing or broken."""
    tokenizer = load_tokenizer(name)
    ends = end_tokens(name, tokenizer)
    model = load_model(name, config.model.dtype)  # its dropout is off, as from_pretrained leaves it
    torch.nn.Module.to(model, pick_device(config.model.device))  # its own `to` has no types
    return Engine(model, ends, config.max_batch), Text(tokenizer, ends, len(model.get_input_embeddings().weight))


class Server(uvicorn.Server):
    """uvicorn with our limits. Asked to end, it takes nothing new and answers what has come, within `grace` seconds."""

    def __init__(self, engine: Engine, app: Starlette, grace: float) -> None:
        last = max(1, ceil(grace))
        super().__init__(
            uvicorn.Config(
                app, http=PatientProtocol, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=last
            )
        )
        self.engine, self.grace = engine, grace

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.engine.close()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.engine.close()
        asyncio.get_running_loop().call_later(max(0.0, self.grace - MARGIN), self.engine.abandon)
        await super().shutdown(sockets)


def bind(host: str, port: int) -> socket.socket:
    """A socket at the address, not listening yet: until the server is ready, connections are refused.

    Raises UserError when the address is taken or not this machine's.
    """
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener:
            listener.close()
        raise UserError(f"cannot serve at {host}:{port}: {error.strerror}", "--port 0 takes a free one") from error
    return listener


def make_app(engine: Engine, text: Text, model_name: str, access: Access) -> Starlette:
    """The HTTP application; the engine runs for as long as it does."""
    endpoints = Endpoints(engine, text, model_name, access)

    @asynccontextmanager
    async def engine_runs(app: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(engine.run())
        yield
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    routes = [
        Route("/v1/completions", endpoints.complete, methods=["POST"]),
        Route("/v1/models", endpoints.models),
        Route("/health", endpoints.health),
        Route("/update_weights", endpoints.update_weights, methods=["POST"]),
    ]
    handlers = {
        RequestError: _refuse,
        Closing: _closing,
        QueueFull: _queue_full,
        ClientDisconnect: _nobody_there,
        HTTPException: _not_there,
        Exception: _failed,
    }
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=engine_runs)


class Endpoints:
    def __init__(self, engine: Engine, text: Text, model_name: str, access: Access) -> None:
        self.engine, self.text, self.model_name, self.access = engine, text, model_name, access
        self._tokenizing = asyncio.Lock()

    async def complete(self, http: Request) -> Response:
        request = parse(CompletionRequest, await self._body(http))
        if request.model != self.model_name:
            message = f"there is no model {request.model!r}, only {self.model_name!r}"
            raise RequestError(message, 404, "model", "model_not_found")
        request.check_size()
        self.engine.check_room(request.count)
        prompts = await self._tokens(request)
        self._check_length(prompts, request.max_tokens)
        sampled, step = await while_connected(http, self._sample(prompts, request))
        return JSONResponse(completion(request, self.text, prompts, sampled, step))

    async def _tokens(self, request: CompletionRequest) -> list[list[int]]:
        """The token ids of each prompt. Long texts take seconds, in a thread: one request at a time has one."""
        prompts = request.prompts
        if not isinstance(prompts[0], str):
            return [self.text.tokens_of(prompt) for prompt in prompts]
        async with self._tokenizing:
            return await asyncio.to_thread(lambda: [self.text.tokens_of(prompt) for prompt in prompts])

    async def _sample(self, prompts: list[list[int]], request: CompletionRequest) -> tuple[list[Sampled], int]:
        """The completions and the step of their policy. Millions of random numbers are drawn in a thread."""
        return await self.engine.generate(await asyncio.to_thread(_wanted, prompts, request))

    async def _body(self, http: Request) -> bytes:
        self.engine.check_open()
        return await read_body(http)

    async def models(self, http: Request) -> Response:
        return JSONResponse(models(self.model_name, context_of(self.engine.model)))

    async def health(self, http: Request) -> Response:
        return JSONResponse({"status": "ok", "step": self.engine.step})

    async def update_weights(self, http: Request) -> Response:
        self.access.check(http)
        request = parse(UpdateRequest, await self._body(http))
        try:
            await self.engine.update(request.path, self.access.weights, request.step)
        except UserError as error:
            raise RequestError(str(error), param="path") from error
        get_logger().debug("serving the policy after {} updates", request.step)
        return JSONResponse({"step": self.engine.step})

    def _check_length(self, prompts: list[list[int]], max_tokens: int) -> None:
        context, longest = context_of(self.engine.model), max(map(len, prompts))
        if longest + max_tokens > context:
            message = f"the context has {context} tokens; the prompt takes {longest}, max_tokens {max_tokens}"
            raise RequestError(message, param="prompt", code="context_length_exceeded")


def _wanted(prompts: list[list[int]], request: CompletionRequest) -> Completions:
    """What the engine is to sample: the same seed draws the same, whatever it is batched with."""
    seed = random.getrandbits(63) if request.seed is None else request.seed
    if isinstance(seed, int):
        draws = _draws(seed, len(prompts) * request.n, request.max_tokens)
    else:
        draws = torch.cat([_draws(own, request.n, request.max_tokens) for own in seed])
    return Completions(prompts, request.n, request.temperature, draws)


def _draws(seed: int, rows: int, columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed % 2**63)
    return torch.rand(rows, columns, dtype=torch.float64, generator=generator)


async def _refuse(http: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error.response()


async def _closing(http: Request, error: Exception) -> Response:
    return RequestError("the server is being ended", 503).response()


async def _queue_full(http: Request, error: Exception) -> Response:
    response = RequestError(f"{LONGEST_QUEUE} completions are waiting already; try again", 429).response()
    response.headers["retry-after"] = "1"
    return response


async def _nobody_there(http: Request, error: Exception) -> Response:
    return Response(status_code=499)  # which nobody reads


async def _not_there(http: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return RequestError(f"{http.method} {http.url.path}: {error.detail}", error.status_code).response()


async def _failed(http: Request, error: Exception) -> Response:
    return RequestError("the server failed; see its log", 500).response()
