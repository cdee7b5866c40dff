"""Reports over real connections."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.run.failure import Culprit, Failure
from launcher.run.links import Links
from launcher.run.reports import Lost, Report, Reported

SECONDS = 10.0
FULL = Report(
    "failed",
    culprit=Culprit("trainer", "exit code 1", 3, 1, node=1),
    ended=True,
    failure=Failure("trainer", 3, "exit code 1", "Traceback …\n  é", Path("/a b/stderr.log"), ("x",), 1, "gpu02"),
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    yield one, other
    one.close()
    other.close()


def heard(link: Links, count: int) -> list[Reported | Lost]:
    """The first events of the link."""

    async def listen() -> list[Reported | Lost]:
        events: asyncio.Queue[Reported | Lost] = asyncio.Queue()
        link.listen(asyncio.get_running_loop(), events.put_nowait)
        try:
            return [await asyncio.wait_for(events.get(), SECONDS) for _ in range(count)]
        finally:
            link.close()

    return asyncio.run(listen())


def test_a_report_arrives_as_it_was_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    Links({0: ends[0]}).tell(FULL)
    assert heard(Links({1: ends[1]}), 1) == [Reported(1, FULL)]


def test_what_was_told_already_is_not_told_again(ends: tuple[socket.socket, socket.socket]) -> None:
    sender = Links({0: ends[0]})
    for report in (Report("running"), Report("running"), FULL):
        sender.tell(report)
    assert heard(Links({1: ends[1]}), 2) == [Reported(1, Report("running")), Reported(1, FULL)]


def test_reports_that_come_in_pieces_are_put_together(ends: tuple[socket.socket, socket.socket]) -> None:
    async def listen() -> list[Reported | Lost]:
        events: asyncio.Queue[Reported | Lost] = asyncio.Queue()
        link = Links({1: ends[1]})
        link.listen(asyncio.get_running_loop(), events.put_nowait)
        for piece in (b'{"state": "run', b'ning"}\n{"state"', b': "finished"}\n'):
            ends[0].sendall(piece)
            await asyncio.sleep(0)
        try:
            return [await asyncio.wait_for(events.get(), SECONDS) for _ in range(2)]
        finally:
            link.close()

    assert asyncio.run(listen()) == [Reported(1, Report("running")), Reported(1, Report("finished"))]


def test_a_connection_that_ends_is_told_once(ends: tuple[socket.socket, socket.socket]) -> None:
    Links({0: ends[0]}).tell(Report("running"))
    ends[0].close()
    assert heard(Links({1: ends[1]}), 2) == [Reported(1, Report("running")), Lost(1, "its launch is gone")]


def test_who_speaks_another_language_is_lost(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall(b"GET / HTTP/1.1\r\n")
    assert heard(Links({1: ends[1]}), 1) == [Lost(1, "its launch says what cannot be understood")]


def test_nobody_is_held_up_by_one_who_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].close()
    sender = Links({0: ends[0]})
    for exit_code in range(3):
        sender.tell(Report("failed", culprit=Culprit("trainer", "x", exit_code=exit_code)))
