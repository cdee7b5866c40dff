import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from launcher.config.workload import TinyConfig
from launcher.errors import UserError
from launcher.workload.models.tiny import END, END_TOKEN
from launcher.workload.serving.server import bind
from tests.several_nodes import free_endpoint
from tests.waiting import until
from tests.workload.running import SHAPE, TINY_MODEL, finished, publish, serving, started, tiny

BIG = TinyConfig(layers=1, dim=64, heads=2, context=128)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as (url, _):
        yield url


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_openai_client_gets_n_completions_of_each_prompt(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="policy", prompt=["ab>", "xyz>"], n=3, max_tokens=5, logprobs=0, seed=1)
    assert [choice.index for choice in answer.choices] == list(range(6))
    assert answer.system_fingerprint == "step-0"
    for choice in answer.choices:
        assert choice.logprobs and choice.logprobs.tokens and choice.logprobs.token_logprobs
        assert len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs) <= 5
        assert choice.finish_reason == ("stop" if choice.logprobs.tokens[-1] == END else "length")
    assert answer.usage and answer.usage.prompt_tokens == 9


def test_the_openai_client_lists_the_one_model(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["policy"]


def test_the_same_seed_gives_the_same_text_beside_other_requests(client: openai.OpenAI) -> None:
    def ask(seed: int) -> str:
        temperature, max_tokens = 0.5 + seed % 3 / 2, 4 + seed % 5
        answer = client.completions.create(
            model="policy", prompt="q" * (1 + seed), seed=seed, temperature=temperature, max_tokens=max_tokens
        )
        return answer.choices[0].text

    alone = [ask(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == alone


def test_a_prompt_of_token_ids_is_the_same_as_its_text_and_ids_come_back(client: openai.OpenAI) -> None:
    def ask(prompt: object) -> list[dict[str, Any]]:
        more = {"return_token_ids": True}
        answer = client.completions.create(
            model="policy",
            prompt=prompt,
            n=2,
            max_tokens=6,
            seed=4,
            logprobs=0,
            extra_body=more,  # type: ignore[call-overload]
        )
        return [choice.model_dump() for choice in answer.choices]

    ids = [[END_TOKEN, 97, 98], [END_TOKEN, 195, 164]]
    choices = ask(ids)
    assert choices == ask(["ab", "ä"]) and ask(ids[0]) == ask("ab")
    assert [choice["prompt_token_ids"] for choice in choices] == [ids[0], ids[0], ids[1], ids[1]]
    for choice in choices:
        assert len(choice["token_ids"]) == len(choice["logprobs"]["token_logprobs"]) <= 6
        text = bytes(token for token in choice["token_ids"] if token != END_TOKEN)
        assert choice["text"] == text.decode(errors="replace")


def test_a_seed_for_each_prompt_gives_what_it_gives_in_a_request_of_its_own(client: openai.OpenAI) -> None:
    def ask(prompt: object, seed: object) -> list[str]:
        body = {"model": "policy", "prompt": prompt, "n": 3, "max_tokens": 6, "seed": seed}
        answer = client.post("/completions", body=body, cast_to=openai.types.Completion)
        return [choice.text for choice in answer.choices]

    assert ask(["ab", "c"], [5, 6]) == ask("ab", 5) + ask("c", 6)
    with pytest.raises(openai.BadRequestError, match="1 seeds for 2 prompts"):
        ask(["ab", "c"], [5])


def test_a_prompt_may_have_more_completions_than_a_batch(client: openai.OpenAI) -> None:
    assert len(client.completions.create(model="policy", prompt="ab>", n=200, max_tokens=2).choices) == 200


def test_a_text_ends_before_its_stop(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="policy", prompt="a", max_tokens=12, logprobs=0, seed=3).choices[0]
    assert whole.logprobs and whole.logprobs.tokens
    stop = next(token for token in whole.logprobs.tokens[2:] if len(token) == 1)
    cut = client.completions.create(model="policy", prompt="a", max_tokens=12, logprobs=0, seed=3, stop=stop).choices[0]
    assert stop not in cut.text and cut.finish_reason == "stop"
    assert cut.logprobs and cut.logprobs.tokens == whole.logprobs.tokens[: whole.logprobs.tokens.index(stop)]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"n": 0}, "n"),
        ({"temperature": 9}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 500}, "prompt"),
        ({"prompt": "x" * 500}, "prompt"),
        ({"top_p": 0.5}, "top_p"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [257]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [1.5]}, "prompt"),
        ({"prompt": [97, "a"]}, "prompt"),
    ],
)
def test_a_bad_request_is_refused_in_openais_shape(client: openai.OpenAI, asked: dict[str, object], param: str) -> None:
    body = {"model": "policy", "prompt": "a", **asked}
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/completions", body=body, cast_to=object)
    assert param in str(refused.value.param) and refused.value.type == "invalid_request_error"


def test_a_model_that_is_not_served_is_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="'gpt'") as refused:
        client.completions.create(model="gpt", prompt="a")
    assert refused.value.code == "model_not_found"


def test_what_is_not_json_and_what_is_not_there_have_openais_shape_too(url: str) -> None:
    answers = [httpx.post(f"{url}/v1/completions", content=b"{"), httpx.get(f"{url}/v2")]
    assert [answer.status_code for answer in answers] == [400, 404]
    assert all(answer.json()["error"]["message"] for answer in answers)


def test_new_weights_change_the_completions_and_their_fingerprint(tmp_path: Path) -> None:
    publish(tiny(seed=7), tmp_path)
    with serving() as (url, _), openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        ask = {"model": "policy", "prompt": "abc>", "max_tokens": 8, "seed": 0}
        before = client.completions.create(**ask)  # type: ignore[call-overload]
        assert httpx.post(f"{url}/update_weights", json={"path": str(tmp_path), "step": 12}).json() == {"step": 12}
        after = client.completions.create(**ask)  # type: ignore[call-overload]
        assert after.system_fingerprint == "step-12"
        assert after.choices[0].text != before.choices[0].text


def test_weights_that_do_not_fit_are_refused_and_the_old_ones_stay(url: str, tmp_path: Path) -> None:
    publish(tiny(0, SHAPE.model_copy(update={"dim": 32})), tmp_path)
    for path in (tmp_path, tmp_path / "none"):
        answer = httpx.post(f"{url}/update_weights", json={"path": str(path), "step": 5})
        assert answer.status_code == 400 and str(path) in answer.json()["error"]["message"]
    assert httpx.get(f"{url}/health").json() == {"status": "ok", "step": 0}


def test_requests_that_come_together_are_generated_together() -> None:
    with serving() as (url, engine), ThreadPoolExecutor(16) as pool:
        batches: list[int] = []
        serve = engine._serve

        async def counted() -> None:
            while not batches and engine._waiting < 64:  # the clients take their time
                await asyncio.sleep(0.01)
            batches.append(engine._waiting)
            await serve()

        engine._serve = counted  # type: ignore[method-assign]
        body = {"model": "policy", "prompt": "a", "n": 4, "max_tokens": 8}
        answers = list(pool.map(lambda _: httpx.post(f"{url}/v1/completions", json=body, timeout=60), range(16)))
        assert all(len(answer.json()["choices"]) == 4 for answer in answers)
        assert batches == [64]


def test_a_request_larger_than_a_batch_is_served_in_parts() -> None:
    with serving(max_batch=3) as (url, _):
        body = {"model": "policy", "prompt": ["a", "b"], "n": 5, "max_tokens": 4}
        assert len(httpx.post(f"{url}/v1/completions", json=body).json()["choices"]) == 10


# --- as a process -----------------------------------------------------------------------------------------------------


def test_a_socket_refuses_connections_until_the_server_listens() -> None:
    with bind("127.0.0.1", 0) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname(), timeout=5)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UserError, match=r"cannot serve at 192\.0\.2\.1:80"):
        bind("192.0.2.1", 80)


@pytest.mark.slow
def test_a_port_that_is_taken_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = finished("inference", "--output-dir", tmp_path, "--port", port, exit_code=1)
    assert f"cannot serve at 127.0.0.1:{port}" in output and "Traceback" not in output


def test_sigterm_ends_the_server_cleanly(tmp_path: Path) -> None:
    port = int(free_endpoint().rpartition(":")[2])
    with started("inference", "--output-dir", tmp_path, "--port", port, *TINY_MODEL) as process:
        until(lambda: is_healthy(port, process))
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        assert "Traceback" not in output


def is_healthy(port: int, process: "subprocess.Popen[str]") -> bool:
    assert process.poll() is None
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.TransportError:
        return False


def test_a_server_that_generates_or_loads_weights_still_says_that_it_lives(tmp_path: Path) -> None:
    publish(tiny(1, BIG), tmp_path / "weights")
    long = {"model": "policy", "prompt": ["x"] * 128, "n": 2, "max_tokens": 40, "temperature": 1.0}
    update = {"path": str(tmp_path / "weights"), "step": 1}
    with serving(BIG, max_batch=1024) as (url, engine), ThreadPoolExecutor(2) as pool, httpx.Client() as client:
        generation = pool.submit(httpx.post, f"{url}/v1/completions", json=long, timeout=120)
        loading = pool.submit(httpx.post, f"{url}/update_weights", json=update, timeout=120)
        slowest, answers = 0.0, 0
        while wait((generation, loading), timeout=0.05).not_done:
            started = time.monotonic()
            assert client.get(f"{url}/health", timeout=10).status_code == 200
            slowest, answers = max(slowest, time.monotonic() - started), answers + 1
        assert (generation.result().status_code, loading.result().status_code, engine.step) == (200, 200, 1)
    assert answers > 0
    assert slowest < 5  # of the ten seconds that an answer may take
