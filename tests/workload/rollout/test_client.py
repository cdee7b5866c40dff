import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from launcher.workload.tokens import END, encode
from launcher.workload.weights import build_model, save_model

from launcher.errors import UserError
from launcher.workload.rollout.client import CompletionRequest, InferenceClient, InferenceServers, ServerLost
from launcher.workload.serving.engine import Engine
from launcher.workload.serving.server import bind
from tests.workload.running import TINY, serving

ASKED = CompletionRequest(["ab>", "cd>"], n=3, temperature=1.0, max_tokens=6, seed=0)


async def ask(url: str) -> Any:
    async with InferenceClient(url, "policy") as client:
        return await client.sample(ASKED)


@contextmanager
def answering(status: int, body: object) -> Iterator[str]:
    """Somebody else's server, which has one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def choices(token: str) -> dict[str, Any]:
    logprobs = {"tokens": [token], "token_logprobs": [-1.0]}
    return {"choices": [{"index": index, "logprobs": logprobs} for index in range(6)]}


@pytest.mark.parametrize("suffix", ["", "/", "/v1"])
def test_samples_come_in_groups_with_the_tokens_that_were_sampled(suffix: str) -> None:
    with serving() as (url, _):
        groups = asyncio.run(ask(url + suffix))
    assert [len(group) for group in groups] == [3, 3]
    assert [group[0].prompt for group in groups] == [[END, *encode("ab>")], [END, *encode("cd>")]]
    assert all(len(one.completion) == len(one.logprobs) > 0 for group in groups for one in group)


def test_a_server_with_another_vocabulary_is_refused() -> None:
    with answering(200, choices("Ġhello")) as url, pytest.raises(UserError, match=r"another vocabulary.*Ġhello"):
        asyncio.run(ask(url))


def test_a_server_that_sends_no_logprobs_is_refused() -> None:
    body = {"choices": [{"index": index, "logprobs": None} for index in range(6)]}
    with answering(200, body) as url, pytest.raises(UserError, match="no log-probabilities"):
        asyncio.run(ask(url))


def test_a_server_that_sends_too_little_is_refused() -> None:
    with answering(200, {"choices": []}) as url, pytest.raises(UserError, match="sent 0 completions for 2 x 3"):
        asyncio.run(ask(url))


def test_a_refusal_is_passed_on_in_the_servers_words() -> None:
    with answering(401, {"error": {"message": "who are you?"}}) as url, pytest.raises(UserError, match=r"401: who are"):
        asyncio.run(ask(url))


def test_a_server_that_is_gone_is_named() -> None:
    with bind("127.0.0.1", 0) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(UserError, match=f"{url} went away"):
            asyncio.run(ask(url))


def test_a_server_that_was_started_again_is_noticed_by_the_weights_that_it_has(tmp_path: Path) -> None:
    async def load_and_ask(url: str, engine: Engine) -> None:
        async with InferenceClient(url, "policy") as client:
            await client.load_weights(tmp_path / "weights", 3)
            await client.sample(ASKED)
            engine.step = 0
            with pytest.raises(ServerLost, match="was started again: it has the weights of step 0, not 3"):
                await client.sample(ASKED)

    save_model(build_model(TINY, seed=1), tmp_path / "weights")
    with serving() as (url, engine):
        asyncio.run(load_and_ask(url, engine))


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_server_that_is_going_or_coming_is_lost_and_does_not_refuse(status: int) -> None:
    with answering(status, {}) as url, pytest.raises(ServerLost, match=f"went away: it answered {status}"):
        asyncio.run(ask(url))


def test_when_one_of_several_servers_is_lost_the_others_are_not_left_at_work() -> None:
    async def ask_both(url: str) -> int:
        async with InferenceServers(f"{url},http://127.0.0.1:9", "policy") as servers:
            with pytest.raises(ServerLost, match=r"127\.0\.0\.1:9 went away"):
                await servers.sample(ASKED)
        return len(asyncio.all_tasks())

    with serving() as (url, _):
        assert asyncio.run(ask_both(url)) == 1


def test_weights_go_to_servers_that_can_load_them_only() -> None:
    async def load(url: str) -> None:
        async with InferenceClient(url, "policy") as client:
            await client.load_weights(Path("weights"), 1)

    with answering(404, "Not Found") as url, pytest.raises(UserError, match="/update_weights answered 404"):
        asyncio.run(load(url))


async def wait(url: str, timeout: float) -> None:
    async with InferenceClient(url, "policy") as client:
        await client.wait_until_ready(timeout)


def test_waiting_for_a_server_ends_at_the_deadline_and_says_why() -> None:
    with bind("127.0.0.1", 0) as nobody, pytest.raises(UserError, match=r"not ready after 0\.2 s: .+"):
        asyncio.run(wait(f"http://127.0.0.1:{nobody.getsockname()[1]}", 0.2))


def test_a_server_that_is_loading_is_waited_for_and_a_stranger_is_not() -> None:
    with answering(503, {}) as url, pytest.raises(UserError, match=r"after 0\.2 s: /health answered 503"):
        asyncio.run(wait(url, 0.2))
    with answering(404, {}) as url, pytest.raises(UserError, match="no server for this: /health answered 404"):
        asyncio.run(wait(url, 60))
