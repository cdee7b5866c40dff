"""Reports over real connections."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.failure.failure import Culprit, Failure
from launcher.failure.verdict import Verdict
from launcher.nodes.messages import Lost, Report, Reported
from launcher.nodes.peers import Links
from launcher.nodes.seal import Seal

SECONDS = 60.0
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


def link(node: int, end: socket.socket, key: bytes | None = b"session") -> Links:
    """One end; the one that hears node 1 is node 0's."""
    return Links({node: end}, {node: Seal(key, is_node_0=node == 1)})


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
    link(0, ends[0]).tell(FULL)
    assert heard(link(1, ends[1]), 1) == [Reported(1, FULL)]


def test_what_was_told_already_is_not_told_again(ends: tuple[socket.socket, socket.socket]) -> None:
    sender = link(0, ends[0])
    for report in (Report("running"), Report("running"), FULL):
        sender.tell(report)
    assert heard(link(1, ends[1]), 2) == [Reported(1, Report("running")), Reported(1, FULL)]


def test_reports_that_come_in_pieces_are_put_together(ends: tuple[socket.socket, socket.socket]) -> None:
    async def listen() -> list[Reported | Lost]:
        events: asyncio.Queue[Reported | Lost] = asyncio.Queue()
        hearing = link(1, ends[1], None)
        hearing.listen(asyncio.get_running_loop(), events.put_nowait)
        for piece in (b'- {"state": "run', b'ning"}\n- {"state"', b': "finished"}\n'):
            ends[0].sendall(piece)
            await asyncio.sleep(0)
        try:
            return [await asyncio.wait_for(events.get(), SECONDS) for _ in range(2)]
        finally:
            hearing.close()

    assert asyncio.run(listen()) == [Reported(1, Report("running")), Reported(1, Report("finished"))]


def test_a_connection_that_ends_is_told_once(ends: tuple[socket.socket, socket.socket]) -> None:
    link(0, ends[0]).tell(Report("running"))
    ends[0].close()
    assert heard(link(1, ends[1]), 2) == [Reported(1, Report("running")), Lost(1, "its launch is gone")]


def test_who_speaks_another_language_is_lost(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall(b"- GET / HTTP/1.1\r\n")
    assert heard(link(1, ends[1], None), 1) == [Lost(1, "its launch sent an invalid message")]


@pytest.mark.parametrize(
    "verdict",
    [
        '{"kind": "nonsense", "again": true, "why": "x"}',
        '{"kind": "signal", "again": true, "why": "x", "seconds": -1}',
        '{"kind": "signal", "again": true, "why": "x", "seconds": 1e999}',
        '{"kind": "signal", "why": "x"}',
    ],
)
def test_a_verdict_that_none_could_have_made_loses_the_node(
    ends: tuple[socket.socket, socket.socket], verdict: str
) -> None:
    ends[0].sendall(f'- {{"state": "restarting", "verdict": {verdict}}}\n'.encode())
    assert heard(link(1, ends[1], None), 1) == [Lost(1, "its launch sent an invalid message")]


def test_a_verdict_arrives_as_it_was_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    report = Report("restarting", attempt=2, over=True, verdict=Verdict("network", True, "trainer rank 3: NCCL", 8.0))
    link(0, ends[0]).tell(report)
    assert heard(link(1, ends[1]), 1) == [Reported(1, report)]


def test_nobody_is_held_up_by_one_who_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].close()
    sender = link(0, ends[0])
    for exit_code in range(3):
        sender.tell(Report("failed", culprit=Culprit("trainer", "x", exit_code=exit_code)))


# --- what others may try ----------------------------------------------------------------------------------------------

FORGED = Lost(1, "somebody else sent a message in its name")
NOT_UNDERSTOOD = Lost(1, "its launch sent an invalid message")


def sealed(*bodies: bytes, key: bytes | None = b"session", is_node_0: bool = False) -> list[bytes]:
    seal = Seal(key, is_node_0)
    return [seal.seal(body) for body in bodies]


@pytest.mark.parametrize(
    "lines",
    [
        sealed(b'{"state": "failed"}', key=None),
        sealed(b'{"state": "failed"}', key=b"another"),
        sealed(b'{"state": "failed"}', is_node_0=True),  # its own line, sent back
        sealed(b'{"state": "running"}', b'{"state": "failed"}')[1:],  # too early, or after one that was taken away
        [sealed(b'{"state": "running"}')[0].replace(b"running", b"stopped")],
    ],
    ids=["without the key", "another key", "sent back", "out of order", "changed"],
)
def test_a_line_that_the_other_side_has_not_sent_now_loses_the_link(
    ends: tuple[socket.socket, socket.socket], lines: list[bytes]
) -> None:
    ends[0].sendall(b"".join(lines))
    assert heard(link(1, ends[1]), 1) == [FORGED]


def test_a_line_that_is_sent_again_loses_the_link(ends: tuple[socket.socket, socket.socket]) -> None:
    line = sealed(b'{"state": "running"}')[0]
    ends[0].sendall(line + line)
    assert heard(link(1, ends[1]), 2) == [Reported(1, Report("running")), FORGED]


def test_a_line_that_never_ends_loses_the_link_before_it_takes_memory(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ends[0].settimeout(SECONDS)
    ends[0].sendall(b"x" * 200_000)
    assert heard(link(1, ends[1]), 1) == [NOT_UNDERSTOOD]


@pytest.mark.parametrize(
    "body",
    [
        b'{"state": "stopped", "signal": 9}',
        b'{"state": "stopped", "signal": 1e99}',
        b'{"state": "on fire"}',
        b'{"state": "failed", "culprit": {"component": "x", "what": "y", "rank": -1}}',
        b'{"state": "failed", "culprit": {"component": "x", "what": "y", "node": 1e18}}',
        b"[" * 30_000,
    ],
)
def test_what_no_launch_says_loses_the_link(ends: tuple[socket.socket, socket.socket], body: bytes) -> None:
    ends[0].sendall(sealed(body)[0])
    assert heard(link(1, ends[1]), 1) == [NOT_UNDERSTOOD]


def test_what_a_node_says_cannot_write_on_the_terminal(ends: tuple[socket.socket, socket.socket]) -> None:
    nasty, clean = "a\x1b]0;owned\x07b\x1b[2Jc\x9b31md\u202ee", "abc31mde"
    failure = Failure(nasty, 3, nasty, f"{nasty}\n{nasty}", Path(f"/tmp/{nasty}"), (nasty,), 1, "gpu02")
    link(0, ends[0]).tell(Report("failed", failure=failure))
    (reported,) = heard(link(1, ends[1]), 1)
    assert isinstance(reported, Reported)
    shown = Failure(clean, 3, clean, f"{clean}\n{clean}", Path(f"/tmp/{clean}"), (clean,), 1, "gpu02")
    assert reported.report.failure == shown


def test_a_failure_with_a_lot_of_evidence_still_fits_into_a_line(ends: tuple[socket.socket, socket.socket]) -> None:
    failure = Failure("trainer", 3, "exit code 1", "\x01é" * 60_000, None, (), 1, "gpu02")
    link(0, ends[0]).tell(Report("failed", failure=failure))
    (reported,) = heard(link(1, ends[1]), 1)
    assert isinstance(reported, Reported) and reported.report.failure
    assert reported.report.failure.cause.startswith("éé")
