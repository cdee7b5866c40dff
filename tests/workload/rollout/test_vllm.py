"""Against a server that answers as vLLM does; tests/e2e/test_vllm.py has the real one."""

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest

from launcher.errors import UserError
from launcher.workload.rollout.client import Completed, CompletionRequest, ServerLost
from launcher.workload.rollout.vllm import VLLMClient

T = TypeVar("T")

ASKED = CompletionRequest([1, 2], n=2, temperature=1.0, max_tokens=3, seed=0)
CHOICE = {"token_ids": [5, 6], "logprobs": {"token_logprobs": [-1.0, -2.0]}, "finish_reason": "length"}


class Server(ThreadingHTTPServer):
    """`version` is what it says of its weights; `held` keeps completions back while it is not set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.version, self.asked, self.broken = "default", list[tuple[str, Any]](), dict[str, int]()
        self.held, self.begun = threading.Event(), threading.Event()
        self.held.set()

    def restart(self) -> None:
        self.version = "default"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"null")
        self.server.asked.append((self.path, body))
        if self.path == "/v1/completions":
            self.server.begun.set()
            self.server.held.wait(60)
            answer: Any = {"choices": [{"index": index, **CHOICE} for index in range(body["n"])]}
        elif self.path == "/update_weight_version":
            self.server.version, answer = body["new_version"], {}
        else:
            answer = {}
        self._answer(answer)

    def do_GET(self) -> None:
        self._answer({"weight_version": self.server.version})

    def _answer(self, answer: Any) -> None:
        self.send_response(self.server.broken.get(self.path, 200))
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running() -> Iterator[tuple[Server, VLLMClient]]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server, VLLMClient(f"http://127.0.0.1:{server.server_port}", "policy")
        server.shutdown()
        thread.join()


def run(work: Coroutine[Any, Any, T], *clients: VLLMClient) -> T:
    async def with_clients() -> T:
        async with AsyncExitStack() as stack:
            for client in clients:
                await stack.enter_async_context(client)
            return await work

    return asyncio.run(with_clients())


def test_weights_are_loaded_between_pause_and_resume_and_get_a_version() -> None:
    async def load(client: VLLMClient) -> list[Completed]:
        await client.load_weights(Path("/weights/step_7"), 7)
        return await client.complete(ASKED)

    with running() as (server, client):
        completed = run(load(client), client)
    assert completed == [Completed([5, 6], [-1.0, -2.0], True, 7)] * 2
    calls = [path for path, _ in server.asked]
    loading = ["/pause?mode=keep", "/collective_rpc", "/reset_prefix_cache", "/update_weight_version", "/resume"]
    assert calls == [*loading, "/v1/completions"]
    assert server.asked[1][1] == {"method": "reload_weights", "kwargs": {"weights_path": "/weights/step_7"}}
    assert server.version.endswith("-7")
    sent = server.asked[-1][1]
    assert sent["seed"] is None
    assert (sent["prompt"], sent["top_p"], sent["top_k"], sent["repetition_penalty"]) == ([1, 2], 1.0, 0, 1.0)


def test_a_server_that_was_given_no_weights_is_not_believed() -> None:
    with running() as (_, client), pytest.raises(ServerLost, match="it has the weights 'default'"):
        run(client.complete(ASKED), client)


def test_what_a_server_that_was_started_again_has_sampled_is_dropped() -> None:
    async def ask(server: Server, client: VLLMClient) -> list[Completed]:
        await client.load_weights(Path("/weights/step_1"), 1)
        server.restart()
        with pytest.raises(ServerLost, match="was started again: it has the weights 'default'"):
            await client.complete(ASKED)
        await client.load_weights(Path("/weights/step_2"), 2)
        return await client.complete(ASKED)

    with running() as (server, client):
        assert {one.policy_step for one in run(ask(server, client), client)} == {2}


def test_what_was_sampled_before_a_server_that_was_started_again_got_its_weights_is_dropped() -> None:
    async def ask(server: Server, client: VLLMClient) -> None:
        await client.load_weights(Path("/weights/step_1"), 1)
        server.restart()
        server.held.clear()
        asked = asyncio.create_task(client.complete(ASKED))
        await asyncio.to_thread(server.begun.wait, 10)
        await client.load_weights(Path("/weights/step_1"), 1)
        server.held.set()
        with pytest.raises(ServerLost, match="unknown weights"):
            await asked
        assert await client.complete(ASKED)

    with running() as (server, client):
        run(ask(server, client), client)


def test_a_completion_across_new_weights_is_counted_to_the_older_ones() -> None:
    async def ask(server: Server, client: VLLMClient) -> list[int]:
        await client.load_weights(Path("/weights/step_1"), 1)
        server.held.clear()
        asked = asyncio.create_task(client.complete(ASKED))
        await asyncio.to_thread(server.begun.wait, 10)
        await client.load_weights(Path("/weights/step_2"), 2)
        server.held.set()
        return [(await asked)[0].policy_step, (await client.complete(ASKED))[0].policy_step]

    with running() as (server, client):
        assert run(ask(server, client), client) == [1, 2]


def test_another_orchestrators_weights_are_not_ours() -> None:
    async def ask(client: VLLMClient, other: VLLMClient) -> None:
        await client.load_weights(Path("/weights/step_1"), 1)
        await other.load_weights(Path("/weights/step_1"), 1)
        with pytest.raises(ServerLost):
            await client.complete(ASKED)

    with running() as (_, client):
        other = VLLMClient(client.url, "policy")
        run(ask(client, other), client, other)


def test_weights_that_are_refused_leave_no_paused_server() -> None:
    with running() as (server, client):
        server.broken["/collective_rpc"] = 400
        with pytest.raises(UserError, match="/collective_rpc answered 400"):
            run(client.load_weights(Path("/none"), 1), client)
        assert server.asked[-1][0] == "/resume"


def test_a_server_whose_engine_has_died_is_lost() -> None:
    async def ask(server: Server, client: VLLMClient) -> None:
        await client.load_weights(Path("/weights/step_1"), 1)
        server.broken["/v1/completions"] = 500
        with pytest.raises(ServerLost, match="it answered 500"):
            await client.complete(ASKED)

    with running() as (server, client):
        run(ask(server, client), client)


def test_a_server_without_the_endpoints_says_how_to_start_it() -> None:
    with running() as (server, client):
        server.broken["/weight_info"] = 404
        with pytest.raises(UserError, match="does not say which weights it has") as refused:
            run(client.load_weights(Path("/weights/step_1"), 1), client)
        assert "VLLM_SERVER_DEV_MODE=1" in str(refused.value)
