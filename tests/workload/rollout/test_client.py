import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from launcher.errors import UserError
from launcher.workload.models.tiny import END_TOKEN
from launcher.workload.rollout import connections
from launcher.workload.rollout.client import (
    Completed,
    CompletionRequest,
    InferenceClient,
    ServerLost,
)
from launcher.workload.rollout.servers import InferenceServers
from launcher.workload.serving.engine import Engine
from launcher.workload.serving.server import bind
from tests.workload.running import publish, serving, tiny

ASKED = CompletionRequest([END_TOKEN, *b"ab>"], n=3, temperature=1.0, max_tokens=6, seed=0)


async def ask(url: str) -> Any:
    async with InferenceClient(url, "policy") as client:
        return await client.complete(ASKED)


@contextmanager
def answering(status: int, body: object) -> Iterator[str]:
    """Somebody else's server, which has one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def sent(count: int = 3, step: int = 0, **choice: object) -> dict[str, Any]:
    """An answer of our server, in which each choice has this instead."""
    usual = {"token_ids": [1, 2], "logprobs": {"token_logprobs": [-1.0, -2.0]}, "finish_reason": "stop"}
    choices = [{"index": index, **usual, **choice} for index in range(count)]
    return {"system_fingerprint": f"step-{step}", "choices": choices}


@pytest.mark.parametrize("suffix", ["", "/", "/v1"])
def test_completions_come_with_the_tokens_that_were_sampled_and_their_logprobs(suffix: str) -> None:
    with serving() as (url, _):
        completed = asyncio.run(ask(url + suffix))
    assert len(completed) == 3
    for one in completed:
        assert 0 < len(one.tokens) == len(one.logprobs) <= 6 and all(logprob < 0 for logprob in one.logprobs)
        assert one.is_cut == (one.tokens[-1] != END_TOKEN)
        assert one.policy_step == 0


def test_what_is_asked_for_together_is_generated_together_and_each_is_as_if_it_had_been_asked_for_alone() -> None:
    requests = [replace(ASKED, prompt_tokens=[END_TOKEN, *f"{seed}>".encode()], seed=seed) for seed in range(32)]

    async def ask_together(url: str) -> list[list[Completed]]:
        async with InferenceServers(url, "policy") as servers:
            return await asyncio.gather(*map(servers.complete, requests))

    async def ask_in_turn(url: str) -> list[list[Completed]]:
        async with InferenceServers(url, "policy") as servers:
            return [await servers.complete(request) for request in requests]

    with serving() as (url, engine):
        batches: list[int] = []
        next_batch = engine._next_batch

        def counted() -> Any:
            batches.append(engine._waiting)
            return next_batch()

        engine._next_batch = counted  # type: ignore[method-assign]
        together = asyncio.run(ask_together(url))
        assert batches == [96, 32]  # of at most 64
        assert [[one.tokens for one in group] for group in asyncio.run(ask_in_turn(url))] == [
            [one.tokens for one in group] for group in together
        ]


def test_requests_of_other_kinds_and_too_many_go_apart() -> None:
    async def ask(url: str) -> None:
        async with InferenceServers(url, "policy") as servers:
            kinds = [ASKED] * 9 + [replace(ASKED, temperature=0.0, n=1)] * 2 + [replace(ASKED, n=128)] * 5
            await asyncio.gather(*map(servers.complete, kinds))

    with serving() as (url, engine):
        sizes: list[int] = []
        generate = engine.generate
        engine.generate = lambda wanted: (sizes.append(len(wanted)), generate(wanted))[1]  # type: ignore
        asyncio.run(ask(url))
    assert sorted(sizes) == [2, 27, 128, 512]


def test_a_request_that_nobody_waits_for_any_more_is_not_generated() -> None:
    async def leave(url: str, engine: Engine) -> None:
        async with InferenceServers(url, "policy") as servers:
            asked = [asyncio.ensure_future(servers.complete(replace(ASKED, n=128))) for _ in range(4)]
            while engine._waiting < 300:
                await asyncio.sleep(0.001)
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            while engine._waiting:
                await asyncio.sleep(0.001)

    with serving(max_batch=8) as (url, engine):
        asyncio.run(asyncio.wait_for(leave(url, engine), 120))


def test_a_server_that_sends_no_logprobs_or_no_tokens_is_refused() -> None:
    for body in (sent(logprobs=None), sent(token_ids=None)):
        with answering(200, body) as url, pytest.raises(UserError, match="no token ids with log-probabilities"):
            asyncio.run(ask(url))


def test_tokens_and_logprobs_that_do_not_match_are_refused() -> None:
    with answering(200, sent(token_ids=[1])) as url, pytest.raises(UserError, match="1 tokens with 2 log-prob"):
        asyncio.run(ask(url))


@pytest.mark.parametrize(
    ("body", "trouble"),
    [
        (b"<html>It works!</html>", "/v1/completions answered 200 without JSON: <html>It works!</html>"),
        (b"[" * 100_000, "answered 200 without JSON"),
        (b"", "does not say which weights it has"),
        ([], "does not say which weights it has"),
        ({"system_fingerprint": "step-0"}, "sent no completions"),
        (sent() | {"choices": 3}, "sent no completions"),
        (sent() | {"choices": [None] * 3}, "sent no completions"),
        (sent(index="first"), "sent no completions"),
        (sent(token_ids=["a", "b"]), "no numbers of that kind"),
        (sent(token_ids=[1, -2]), "no numbers of that kind"),
        (sent(logprobs={"token_logprobs": [None, -1.0]}), "no numbers of that kind"),
        (sent(logprobs={"token_logprobs": [float("nan"), -1.0]}), "no numbers of that kind"),
        (sent(logprobs={"token_logprobs": [-(10**400), -1.0]}), "no numbers of that kind"),
    ],
)
def test_an_answer_that_is_no_use_is_refused(body: object, trouble: str) -> None:
    with answering(200, body) as url, pytest.raises(UserError, match=trouble):
        asyncio.run(ask(url))


def test_an_idle_connection_is_closed_before_the_server_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def idle(url: str) -> None:
        async with InferenceClient(url, "policy") as client:
            await client.complete(ASKED)
            connector: Any = client._http.connector
            while any(connector._conns.values()):
                await asyncio.sleep(0.02)

    usual = signature(uvicorn.Config).parameters["timeout_keep_alive"].default
    assert usual / 2 >= connections.IDLE
    monkeypatch.setattr(uvicorn, "Config", partial(uvicorn.Config, timeout_keep_alive=1000))
    with serving() as (url, _):
        asyncio.run(asyncio.wait_for(idle(url), 60))


def test_a_server_that_sends_too_little_is_refused() -> None:
    with answering(200, sent(2)) as url, pytest.raises(UserError, match="sent 2 completions, not 3"):
        asyncio.run(ask(url))


def test_a_server_that_does_not_say_which_weights_it_has_is_refused() -> None:
    body = sent() | {"system_fingerprint": None}
    with answering(200, body) as url, pytest.raises(UserError, match="does not say which weights it has"):
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
            await client.complete(ASKED)
            engine.step = 0
            with pytest.raises(ServerLost, match="was started again: it has the weights of step 0, not 3"):
                await client.complete(ASKED)

    publish(tiny(seed=1), tmp_path / "weights", step=3)
    with serving() as (url, engine):
        asyncio.run(load_and_ask(url, engine))


def test_completions_are_counted_to_the_policy_that_sampled_them_though_newer_weights_come_meanwhile(
    tmp_path: Path,
) -> None:
    async def ask_and_load(url: str, engine: Engine) -> tuple[list[Completed], list[Completed]]:
        async with InferenceClient(url, "policy") as client:
            await client.load_weights(tmp_path / "step_3", 3)
            before = asyncio.create_task(client.complete(replace(ASKED, n=64, max_tokens=20)))
            while not (engine._waiting or before.done()):
                await asyncio.sleep(0.001)
            await client.load_weights(tmp_path / "step_4", 4)
            return await before, await client.complete(ASKED)

    for step in (3, 4):
        publish(tiny(seed=step), tmp_path / f"step_{step}", step=step)
    with serving(max_batch=8) as (url, engine):
        before, after = asyncio.run(ask_and_load(url, engine))
    assert {one.policy_step for one in before} == {3}
    assert {one.policy_step for one in after} == {4}


def test_each_request_goes_to_the_server_with_fewest_in_flight() -> None:
    async def ask_four(urls: str) -> None:
        async with InferenceServers(urls, "policy") as servers:
            await asyncio.gather(*(servers.complete(ASKED) for _ in range(4)))

    with serving() as (one, first), serving() as (two, second):
        counts = []
        for engine in (first, second):
            counts.append(count := [])
            generate = engine.generate
            engine.generate = lambda wanted, c=count, g=generate: (c.append(len(wanted)), g(wanted))[1]  # type: ignore
        asyncio.run(ask_four(f"{one}, {two}"))
    assert counts == [[6], [6]]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_server_that_is_going_or_coming_is_lost_and_does_not_refuse(status: int) -> None:
    body = {"error": {"message": "the engine\nhas died"}}
    with answering(status, body) as url, pytest.raises(ServerLost, match=f"it answered {status}: the engine.*died"):
        asyncio.run(ask(url))


def test_when_one_of_several_servers_is_lost_the_others_are_not_left_at_work(tmp_path: Path) -> None:
    async def load_both(url: str) -> int:
        async with InferenceServers(f"{url},http://127.0.0.1:9", "policy") as servers:
            with pytest.raises(ServerLost, match=r"127\.0\.0\.1:9 went away"):
                await servers.load_weights(tmp_path, 1)
        return len(asyncio.all_tasks())

    publish(tiny(seed=1), tmp_path)
    with serving() as (url, _):
        assert asyncio.run(load_both(url)) == 1


def test_weights_go_to_servers_that_can_load_them_only() -> None:
    async def load(url: str) -> None:
        async with InferenceClient(url, "policy") as client:
            await client.load_weights(Path("weights"), 1)

    with answering(404, "Not Found") as url, pytest.raises(UserError, match="/update_weights answered 404"):
        asyncio.run(load(url))


def test_the_shortest_context_of_the_servers_is_known_if_any_says_its_own() -> None:
    async def context(urls: str) -> int | None:
        async with InferenceServers(urls, "policy") as servers:
            return await servers.context()

    with serving() as (url, _), answering(404, {}) as silent, answering(200, {"data": [{"id": "policy"}]}) as other:
        assert asyncio.run(context(f"{silent},{url},{other}")) == 32
        assert asyncio.run(context(f"{silent},{other}")) is None


async def wait(url: str, timeout: float) -> None:
    async with InferenceClient(url, "policy") as client:
        await client.wait_until_ready(timeout)


def test_waiting_for_a_server_ends_at_the_deadline_and_says_why() -> None:
    with bind("127.0.0.1", 0) as nobody, pytest.raises(UserError, match=r"not ready after 0\.2 s: .+"):
        asyncio.run(wait(f"http://127.0.0.1:{nobody.getsockname()[1]}", 0.2))


def test_a_server_that_is_loading_is_waited_for_and_a_stranger_is_not() -> None:
    with answering(503, {}) as url, pytest.raises(UserError, match=r"after 2 s: /health answered 503"):
        asyncio.run(wait(url, 2))
    with answering(404, {}) as url, pytest.raises(UserError, match="is not an inference server: /health answered 404"):
        asyncio.run(wait(url, 60))
