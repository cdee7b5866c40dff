"""Which server seems to be dying: real sockets and real logs."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.plan.spec import Alive, ProcessSpec, Role
from launcher.supervisor.rules.suspicion import Suspect
from launcher.supervisor.serving import Watch
from launcher.supervisor.suspects import RecentLogs, find_suspects


def server(directory: Path, ready: str | None, misses: int = 0, is_ready: bool = True) -> tuple[ProcessSpec, Watch]:
    """A server and what has been heard of it."""
    alive = Alive(ready, 10.0, 3) if ready else None
    spec = ProcessSpec(
        "inference", ("true",), Role.SERVES, directory, directory / "log", ready=ready or "log:up", alive=alive
    )
    watch = Watch(spec)
    watch.is_ready = is_ready
    if watch.pulse:
        watch.pulse.missed = misses
    return spec, watch


@pytest.fixture
def closed() -> Iterator[str]:
    """A check of a port that is taken, and that nobody listens on."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{nobody.getsockname()[1]}/health"


def test_a_server_whose_port_is_closed_is_suspect(tmp_path: Path, closed: str) -> None:
    port = closed.split(":")[2].split("/")[0]
    found = find_suspects([server(tmp_path, closed)], RecentLogs())
    assert found == (Suspect("inference", f"its port {port} was closed"),)


def test_a_server_that_takes_connections_and_one_that_is_only_starting_are_not_suspect(
    tmp_path: Path, closed: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        check = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        assert find_suspects([server(tmp_path, check)], RecentLogs()) == ()
    assert find_suspects([server(tmp_path, closed, is_ready=False)], RecentLogs()) == ()


def test_a_server_that_missed_its_last_answers_is_suspect_and_after_one_miss_less_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check = f"http://127.0.0.1:{silent.getsockname()[1]}/health"
        for misses, is_certain in ((1, False), (2, True)):
            (found,) = find_suspects([server(tmp_path, check, misses)], RecentLogs())
            assert found == Suspect("inference", f"it had not answered /health for {misses}0s", is_certain)


VLLM = "(APIServer pid=7) ERROR 11-26 10:31:04 [async_llm.py:500] EngineDeadError\n"
TRACEBACK = "Traceback (most recent call last):\n  File ...\nRuntimeError: dead\n"
OK = 'INFO:     127.0.0.1:1 - "POST /v1/completions HTTP/1.1" 200 OK\n'
BAD = 'INFO:     127.0.0.1:1 - "POST /v1/completions HTTP/1.1" 500 Internal Server Error\n'


@pytest.mark.parametrize(
    ("text", "is_suspect"),
    [
        (VLLM, True),
        (TRACEBACK, True),
        (OK + VLLM + BAD + "INFO:     Shutting down\n", True),
        (VLLM + OK, False),
        (TRACEBACK + OK, False),
        (OK, False),
        ("loss 0.1, no errors\n", False),
        ("", False),
    ],
)
def test_an_error_that_is_newer_than_the_last_success_makes_suspect(
    tmp_path: Path, text: str, is_suspect: bool
) -> None:
    spec, watch = server(tmp_path, None)
    spec.log.write_text(text)
    expected = (Suspect("inference", "its log had an error", is_certain=False),) if is_suspect else ()
    assert find_suspects([(spec, watch)], RecentLogs()) == expected


def test_an_error_that_a_server_has_survived_is_forgotten(tmp_path: Path) -> None:
    log, logs = tmp_path / "log", RecentLogs()
    logs.started(log)
    log.write_text(VLLM)
    assert logs.has_error(log)
    logs.beat()
    assert logs.has_error(log)
    logs.beat()
    assert not logs.has_error(log)
    with log.open("a") as file:
        file.write(VLLM)
    assert logs.has_error(log)


def test_what_an_earlier_start_has_logged_is_forgotten(tmp_path: Path) -> None:
    log, logs = tmp_path / "log", RecentLogs()
    log.write_text(TRACEBACK)
    logs.started(log)
    assert not logs.has_error(log)
