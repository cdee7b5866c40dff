"""Whether a component can be used: asked of real sockets and real files."""

import asyncio
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from launcher.borders.log_tail import LogTail
from launcher.supervisor.readiness import ready_probe, until_ready


def test_a_port_is_ready_once_somebody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        probe = ready_probe(f"tcp://127.0.0.1:{listener.getsockname()[1]}", tmp_path / "log")
        assert probe() is None
    assert probe() == "refused the connection"


@contextmanager
def answering(status: int) -> Iterator[str]:
    """The URL of a server that has one answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/health"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, None),
        (204, None),
        (404, "answered 404 Not Found"),
        (503, "answered 503 Service Unavailable"),
        (599, "answered 599"),
    ],
)
def test_what_a_url_has_answered_is_said(tmp_path: Path, status: int, answer: str | None) -> None:
    with answering(status) as url:
        assert ready_probe(url, tmp_path / "log")() == answer


def test_a_server_that_does_not_answer_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert ready_probe(url, tmp_path / "log", within=0.1)() == "did not answer within 0.1s"
    with socket.socket() as nobody:  # has the port, and does not listen
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        assert ready_probe(url, tmp_path / "log")() == "refused the connection"
    assert "could not be reached" in str(ready_probe("http://no.such.host.invalid/", tmp_path / "log")())


def test_a_server_that_does_not_speak_http_is_called_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-x\r\n")
                connection.recv(1000)

        threading.Thread(target=greet).start()
        answer = ready_probe(f"http://127.0.0.1:{listener.getsockname()[1]}/", tmp_path / "log")()
    assert answer == "gave no HTTP answer: SSH-2.0-x\r\n"


def test_what_launch_itself_lacks_is_no_answer_of_the_servers(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = ready_probe("tcp://127.0.0.1:9", tmp_path / "log")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            probe()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_try_that_nobody_answers_does_not_delay_the_end(tmp_path: Path) -> None:
    async def give_up(url: str) -> None:
        waiting = asyncio.create_task(until_ready(ready_probe(url, tmp_path / "log"), 60))
        await asyncio.sleep(0.05)
        waiting.cancel()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        asyncio.run(give_up(f"http://127.0.0.1:{silent.getsockname()[1]}/"))
        assert time.monotonic() - started < 5  # of the ten that a try may take


def test_a_log_is_ready_once_a_line_matches_wherever_in_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    probe = ready_probe(r"log:port \d+", log)
    assert probe() == "has no such line"
    log.write_text("running on po")
    assert probe() == "has no such line"
    with log.open("a") as file:
        file.write("rt 80\n")
    assert probe() is None


def test_what_an_earlier_start_has_logged_does_not_count(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("up\n")
    probe = ready_probe("log:up", log)
    assert probe() == "has no such line"
    with log.open("a") as file:
        file.write("up\n")
    assert probe() is None


def test_waiting_ends_with_the_time(tmp_path: Path) -> None:
    assert asyncio.run(until_ready(lambda: "answered 404 Not Found", 0.05)) == "answered 404 Not Found"


def test_a_progress_bar_gives_lines_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"step 1\rstep 2\r\nstep 3\nste")
    tail = LogTail(log)
    assert [line for line in tail.new_lines() if line] == ["step 1", "step 2", "step 3"]
    assert tail.new_lines() == []
    assert tail.new_lines(is_over=True) == ["ste"]
