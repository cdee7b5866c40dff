"""What a client may do to the server, and to the other clients: real connections against a server in this process."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import torch
from safetensors.torch import load_file, save_file

from launcher.config.serving import MOST_DRAWS
from launcher.workload.serving import engine as engine_module
from launcher.workload.serving import http
from launcher.workload.serving import server as server_module
from launcher.workload.serving.engine import Engine
from launcher.workload.serving.protocol import Text
from tests.waiting import until
from tests.workload.running import SHAPE, publish, serving, tiny

SMALL = {"model": "policy", "prompt": "a", "max_tokens": 4}
LARGE = {"model": "policy", "prompt": "a", "n": 128, "max_tokens": 24}
TOKEN = "drawn-for-this-run"
KNOWN = {"authorization": f"Bearer {TOKEN}"}


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def post(body: dict[str, object], path: str = "/v1/completions") -> bytes:
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
    return head.encode() + text


def is_closed(connection: socket.socket) -> bool:
    """Once the server has closed it; what it said before is dropped."""
    while connection.recv(1 << 16):
        pass
    return True


# --- work -------------------------------------------------------------------------------------------------------------


@dataclass
class Generations:
    """What the engine generates: how many completions at a time, and the lengths of those that are done."""

    sizes: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    goes: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))  # one release lets one begin


@pytest.fixture
def generations(monkeypatch: pytest.MonkeyPatch) -> Iterator[Generations]:
    """Each waits until it is let go."""
    found, generate = Generations(), engine_module.generate

    def generated(model: Any, ends: Any, wanted: Any, is_awaited: Any) -> Any:
        found.sizes.append(len(wanted))
        assert found.goes.acquire(timeout=60)
        sampled = generate(model, ends, wanted, is_awaited)
        found.lengths += [len(one.tokens) for one in sampled]
        return sampled

    monkeypatch.setattr(engine_module, "generate", generated)
    yield found
    found.goes.release(10_000)


def test_what_a_client_asked_for_that_left_is_not_generated(generations: Generations) -> None:
    with serving(max_batch=8) as (url, engine), ExitStack() as stack:
        leaving = [stack.enter_context(connect(url)) for _ in range(20)]
        for connection in leaving:
            connection.sendall(post(LARGE))
        until(lambda: generations.sizes and engine._waiting == 20 * 128 - sum(generations.sizes))
        for connection in leaving:
            connection.close()
        until(lambda: engine._waiting == 0)
        assert not engine._requests and not engine._answers
        generations.goes.release(2)
        assert httpx.post(f"{url}/v1/completions", json=SMALL).status_code == 200
    assert len(generations.sizes) == 2


def test_a_generation_that_nobody_waits_for_ends_early(generations: Generations) -> None:
    with serving(SHAPE.model_copy(update={"context": 4096}), max_batch=512) as (url, engine), connect(url) as leaving:
        leaving.sendall(post(LARGE | {"max_tokens": 4000, "temperature": 2.0}))
        until(lambda: generations.sizes)
        leaving.close()
        until(lambda: not engine._answers)
        generations.goes.release(2)
        assert httpx.post(f"{url}/v1/completions", json=SMALL, timeout=60).status_code == 200
    assert max(generations.lengths) <= 4


def test_requests_take_turns_so_that_a_small_one_does_not_wait_for_a_large_one(generations: Generations) -> None:
    with serving(max_batch=8) as (url, engine), ThreadPoolExecutor(2) as pool:
        large = pool.submit(httpx.post, f"{url}/v1/completions", json=LARGE | {"n": 512}, timeout=120)
        until(lambda: engine._waiting == 512 - 8)
        small = pool.submit(httpx.post, f"{url}/v1/completions", json=SMALL, timeout=60)
        until(lambda: engine._waiting == 512 - 8 + 1)
        generations.goes.release(2)
        assert small.result().status_code == 200
        assert not large.done()
        generations.goes.release(100)
        assert len(large.result().json()["choices"]) == 512


def test_a_client_that_leaves_is_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with serving(max_batch=8) as (url, engine):
        for sent in (post(LARGE), post(LARGE)[:-5]):
            with connect(url) as leaving:
                leaving.sendall(sent)
                time.sleep(0.1)
        until(lambda: engine._waiting == 0)
        assert httpx.get(f"{url}/health").status_code == 200
    assert not [record for record in caplog.records if record.exc_info]


def test_more_completions_than_a_request_may_ask_for_are_refused() -> None:
    with serving() as (url, engine):
        answer = httpx.post(f"{url}/v1/completions", json=LARGE | {"prompt": ["a"] * 33})
        assert answer.status_code == 400 and "at most 4096" in answer.json()["error"]["message"]
        assert engine._waiting == 0


def test_a_full_queue_is_said_to_be_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "LONGEST_QUEUE", 100)
    with serving() as (url, _):
        answer = httpx.post(f"{url}/v1/completions", json=LARGE)
        assert answer.status_code == 429 and answer.headers["retry-after"] == "1"
        assert httpx.post(f"{url}/v1/completions", json=SMALL).status_code == 200


def test_a_full_queue_is_said_before_any_random_number_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "LONGEST_QUEUE", 100)
    drawn: list[int] = []
    draws = server_module._draws

    def counted(seed: int, rows: int, columns: int) -> Any:
        drawn.append(rows)
        return draws(seed, rows, columns)

    monkeypatch.setattr(server_module, "_draws", counted)
    with serving() as (url, _):
        assert httpx.post(f"{url}/v1/completions", json=LARGE).status_code == 429
        assert httpx.post(f"{url}/v1/completions", json=SMALL).status_code == 200
    assert drawn == [1]


def test_more_random_numbers_than_a_request_may_need_are_refused() -> None:
    with serving() as (url, _):
        answer = httpx.post(f"{url}/v1/completions", json=LARGE | {"max_tokens": MOST_DRAWS // 128 + 1})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "max_tokens") and str(MOST_DRAWS) in error["message"]


@pytest.mark.parametrize("slow", ["tokens_of", "_draws"])
def test_the_server_answers_others_while_it_prepares_a_request(monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    begun, free, place = threading.Event(), threading.Event(), Text if slow == "tokens_of" else server_module
    usual = getattr(place, slow)

    def slowly(*arguments: Any) -> Any:
        begun.set()
        assert free.wait(60)
        return usual(*arguments)

    monkeypatch.setattr(place, slow, slowly)
    with serving() as (url, _), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, f"{url}/v1/completions", json=SMALL, timeout=60)
        try:
            assert begun.wait(20)
            assert httpx.get(f"{url}/health", timeout=20).status_code == 200
        finally:
            free.set()
        assert asked.result().status_code == 200


# --- connections ------------------------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_refused_whether_its_length_is_said_or_not() -> None:
    with serving() as (url, _):
        said = httpx.post(f"{url}/v1/completions", content=b" " * (http.LARGEST_BODY + 1))
        unsaid = httpx.post(f"{url}/v1/completions", content=iter([b" " * (1 << 20)] * 9))
        assert [said.status_code, unsaid.status_code] == [413, 413]


@pytest.mark.parametrize("begun", [b"", b"POST /v1/comp", b"GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET /he"])
def test_a_header_that_does_not_come_closes_the_connection(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(http, "HEADER_SECONDS", 0.3)
    with serving() as (url, _), connect(url) as slow:
        slow.sendall(begun)
        assert is_closed(slow)


def test_a_body_that_does_not_come_is_answered_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_SECONDS", 0.3)
    with serving() as (url, _), connect(url) as slow:
        slow.sendall(post(SMALL)[:-5])
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_a_request_that_takes_long_to_answer_is_not_cut_off(
    monkeypatch: pytest.MonkeyPatch, generations: Generations
) -> None:
    for limit in ("HEADER_SECONDS", "BODY_SECONDS"):
        monkeypatch.setattr(http, limit, 2.0)  # in which the request itself comes, on a busy machine too
    with serving() as (url, _), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, f"{url}/v1/completions", json=SMALL, timeout=60)
        until(lambda: generations.sizes)
        assert not wait([asked], timeout=2.5).done
        generations.goes.release()
        assert asked.result().status_code == 200


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path: Path) -> Path:
    directory = tmp_path / "weights" / "step_5"
    publish(tiny(seed=7), directory, step=5)
    return directory


@pytest.fixture
def server(published: Path) -> Iterator[tuple[str, Engine]]:
    with serving(weights=published.parent, token=TOKEN) as served:
        yield served


def update(url: str, path: Path, **headers: str) -> httpx.Response:
    return httpx.post(f"{url}/update_weights", json={"path": str(path), "step": 5}, headers=KNOWN | headers)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),  # what a page of another origin may send without asking
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost:1"}, 403),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer \xe9"}, 401),
    ],
)
def test_who_is_not_of_the_run_cannot_change_the_weights(
    server: tuple[str, Engine], published: Path, headers: dict[str, str], status: int
) -> None:
    url, engine = server
    sent = {name: value.encode("latin-1") for name, value in (KNOWN | headers).items()}
    answer = httpx.post(f"{url}/update_weights", json={"path": str(published), "step": 5}, headers=sent)
    assert (answer.status_code, engine.step) == (status, 0)


def test_who_has_the_runs_token_can(server: tuple[str, Engine], published: Path) -> None:
    url, engine = server
    port = urlsplit(url).port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", f"10.0.0.7:{port}"):
        assert update(url, published, host=host).status_code == 200
    assert engine.step == 5


def nan(weights: Path) -> None:
    tensors = load_file(weights / "model.safetensors")
    next(reversed(tensors.values())).view(-1)[-1] = float("nan")
    save_file(tensors, weights / "model.safetensors")


def other_dtype(weights: Path) -> None:
    tensors = load_file(weights / "model.safetensors")
    save_file({name: tensor.double() for name, tensor in tensors.items()}, weights / "model.safetensors")


def one_more(weights: Path) -> None:
    tensors = load_file(weights / "model.safetensors")
    save_file(tensors | {"more": torch.zeros(1)}, weights / "model.safetensors")


def one_less(weights: Path) -> None:
    tensors = load_file(weights / "model.safetensors")
    tensors.popitem()
    save_file(tensors, weights / "model.safetensors")


def other_shape(weights: Path) -> None:
    tensors = load_file(weights / "model.safetensors")
    name, tensor = tensors.popitem()
    save_file(tensors | {name: torch.cat([tensor, tensor])}, weights / "model.safetensors")


def cut_short(weights: Path) -> None:
    os.truncate(weights / "model.safetensors", 3000)


def of_another_step(weights: Path) -> None:
    publish(tiny(seed=7), weights, step=4)


def garbage(weights: Path) -> None:
    (weights / "model.safetensors").write_bytes(b"\xff" * 70_000)


def header_is_deep(weights: Path) -> None:
    header = b"[" * 60_000
    (weights / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def weights_are_endless(weights: Path) -> None:
    (weights / "model.safetensors").unlink()
    (weights / "model.safetensors").symlink_to("/dev/zero")


def weights_are_a_pipe(weights: Path) -> None:
    (weights / "model.safetensors").unlink()
    os.mkfifo(weights / "model.safetensors")


def weights_are_elsewhere(weights: Path) -> None:
    (weights / "model.safetensors").rename(weights.parent.parent / "model.safetensors")
    (weights / "model.safetensors").symlink_to(weights.parent.parent / "model.safetensors")


def directory_is_elsewhere(weights: Path) -> None:
    weights.rename(weights.parent.parent / "elsewhere")
    weights.symlink_to(weights.parent.parent / "elsewhere")


@pytest.mark.parametrize(
    "spoil",
    [
        nan,
        other_dtype,
        one_more,
        one_less,
        other_shape,
        cut_short,
        of_another_step,
        garbage,
        header_is_deep,
        weights_are_endless,
        weights_are_a_pipe,
        weights_are_elsewhere,
        directory_is_elsewhere,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_an_update_that_is_refused_changes_nothing(server: tuple[str, Engine], published: Path, spoil: object) -> None:
    url, engine = server
    before = {name: tensor.clone() for name, tensor in engine.model.state_dict().items()}
    assert callable(spoil)
    spoil(published)
    answer = update(url, published)
    assert answer.status_code == 400, answer.text
    assert all(torch.equal(before[name], tensor) for name, tensor in engine.model.state_dict().items())
    assert httpx.get(f"{url}/health").json() == {"status": "ok", "step": 0}


def test_weights_may_be_named_as_they_are_called_below_the_runs(server: tuple[str, Engine], published: Path) -> None:
    url, engine = server
    assert update(url, Path(published.name)).status_code == 200
    assert engine.step == 5


def test_a_path_outside_of_the_runs_weights_is_refused(server: tuple[str, Engine], published: Path) -> None:
    url, _ = server
    publish(tiny(seed=7), published.parent.parent / "mine")
    for path in (published.parent.parent / "mine", published / ".." / ".." / "mine"):
        assert update(url, path).status_code == 400


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000, "a/" * 5000, "\x1b[31m"])
def test_a_path_that_is_none_is_the_clients_mistake(server: tuple[str, Engine], name: str) -> None:
    url, _ = server
    assert update(url, Path(name)).status_code == 400


# --- the end ----------------------------------------------------------------------------------------------------------


def test_what_has_come_is_answered_after_the_request_to_end_and_nothing_new_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(max_batch=8) as (url, engine), ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        slow = stack.enter_context(connect(url))
        slow.sendall(post(SMALL)[:-5])
        large = pool.submit(httpx.post, f"{url}/v1/completions", json=LARGE | {"n": 256}, timeout=60)
        until(lambda: engine._waiting > 0)
        engine.close()
        assert httpx.post(f"{url}/v1/completions", json=SMALL).status_code == 503
        assert large.result().status_code == 200
    assert not [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"]


def test_what_cannot_be_answered_within_the_grace_is_answered_503(caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(1) as pool:
        with serving(SHAPE.model_copy(update={"context": 4096}), max_batch=1, grace=1.2) as (url, engine):
            asked = LARGE | {"max_tokens": 4000, "temperature": 2.0}
            large = pool.submit(httpx.post, f"{url}/v1/completions", json=asked, timeout=30)
            until(lambda: engine._waiting > 0)
            started = time.monotonic()
        assert time.monotonic() - started < 9  # it would take minutes, and `serving` waits for 10 s
        assert large.result().status_code == 503
    assert not [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"]
