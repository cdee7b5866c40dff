"""Requests to a supervisor: who is heard, what is refused, and that nobody else is taken for a supervisor."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from launcher.control import client, inbox
from launcher.control.client import ask
from launcher.control.inbox import Inbox
from launcher.control.messages import Request
from launcher.errors import UserError
from launcher.processes.identity import identify
from launcher.rundir import RunDir
from launcher.runs.state import RunState
from tests.states import state_of


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    root = tmp_path / "it's $(a) run" / ("long" * 30) / "otter"
    root.mkdir(parents=True)
    return RunDir(root)


@pytest.fixture(autouse=True)
def proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process counts as one of the run's: the proof itself has its own tests."""
    monkeypatch.setattr(client, "proves_to_be_of", lambda run, process: True)


def state(run: RunDir) -> RunState:
    return state_of(run, state="running", supervisor=identify(os.getpid()))


@contextmanager
def supervisor(run: RunDir, answer: Callable[[str], str | None]) -> Iterator[list[tuple[str, str]]]:
    """A loop in a thread that answers each request; gives what was asked, and by whom."""
    asked: list[tuple[str, str]] = []
    loop, there = asyncio.new_event_loop(), threading.Event()

    def take(number: int, component: str, by: str) -> None:
        asked.append((component, by))
        box.answer(number, answer(component))

    box = Inbox(run, take)

    def work() -> None:
        box.listen(loop)
        there.set()
        loop.run_forever()
        box.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert there.wait(60)
    try:
        yield asked
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def send(run: RunDir, block: bytes) -> bytes:
    """What comes back for these bytes."""
    directory = os.open(run.own, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(f"/proc/self/fd/{directory}/.control")
        os.close(directory)
        connection.sendall(block)
        return connection.recv(10_000)


def test_a_request_is_answered_and_says_who_asked(run: RunDir) -> None:
    with supervisor(run, lambda name: None if name == "inference" else "no") as asked:
        assert ask(run, state(run), Request(restart="inference")).refusal is None
        assert ask(run, state(run), Request(restart="trainer")).refusal == "no"
    assert [component for component, _ in asked] == ["inference", "trainer"]
    assert asked[0][1].startswith(f"pid {os.getpid()} (`")
    assert asked[0][1].endswith(f"uid {os.getuid()})")


def test_the_socket_is_gone_when_the_run_is(run: RunDir) -> None:
    with supervisor(run, lambda _: None):
        assert run.control.is_socket()
    assert not run.control.exists()
    with pytest.raises(UserError, match="cannot be asked"):
        ask(run, state(run), Request(restart="inference"))


def test_what_a_killed_supervisor_has_left_is_replaced(run: RunDir) -> None:
    run.control.symlink_to("/etc/passwd")
    with supervisor(run, lambda _: None):
        assert ask(run, state(run), Request(restart="inference")).refusal is None


@pytest.mark.parametrize("block", [b"\n", b"{\n", b'{"stop": "all"}\n', b'{"restart": "../x"}\n', b'{"restart": 3}\n'])
def test_what_is_no_request_is_refused_and_changes_nothing(run: RunDir, block: bytes) -> None:
    with supervisor(run, lambda _: None) as asked:
        assert b"does not know this request" in send(run, block)
        assert asked == []
        assert ask(run, state(run), Request(restart="inference")).refusal is None


def test_a_request_without_an_end_is_given_up(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "PATIENCE", 0.1)
    with supervisor(run, lambda _: None) as asked:
        assert send(run, b'{"restart": ') == b""
        with suppress(ConnectionError):
            assert send(run, b"x" * 100_000) == b""
        assert asked == []


def test_other_users_are_not_heard(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    with supervisor(run, lambda _: None) as asked:
        monkeypatch.setattr(inbox, "peer", lambda _: (1, 4711))
        with suppress(ConnectionError):
            assert send(run, b'{"restart": "inference"}\n') == b""
        assert asked == []


def test_somebody_else_at_the_socket_is_not_taken_for_the_supervisor(run: RunDir) -> None:
    other = state_of(run, state="running", supervisor=identify(os.getppid()))
    with supervisor(run, lambda _: None) as asked:
        with pytest.raises(UserError, match="not proven to be its supervisor"):
            ask(run, other, Request(restart="inference"))
        assert asked == []


def test_a_supervisor_that_is_not_proven_to_be_the_runs_is_asked_nothing(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "proves_to_be_of", lambda run, process: False)
    with supervisor(run, lambda _: None) as asked:
        with pytest.raises(UserError, match="not proven to be its supervisor"):
            ask(run, state(run), Request(restart="inference"))
        assert asked == []


def test_a_request_that_is_never_answered_is_ended_with_the_run(run: RunDir) -> None:
    box = Inbox(run, lambda number, component, by: loop.call_soon(loop.stop))
    loop = asyncio.new_event_loop()
    box.listen(loop)
    found: list[str] = []

    def work() -> None:
        try:
            ask(run, state(run), Request(restart="inference"))
        except UserError as error:
            found.append(error.message)

    thread = threading.Thread(target=work)
    thread.start()
    loop.run_forever()
    box.close()
    thread.join(10)
    loop.close()
    assert found == [f"{run.root.name}: its supervisor has ended meanwhile"]
