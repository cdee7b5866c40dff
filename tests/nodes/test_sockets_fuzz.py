"""Whatever comes over the sockets between nodes is believed, refused, or loses the link; others are heard meanwhile.

The strangers here know the run's secret or not: what they say is crafted either way.
"""

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from launcher.borders.values import NAME
from launcher.errors import UserError
from launcher.nodes.arrival import Arrival
from launcher.nodes.meeting import ANSWER, CHALLENGE, HELLO, Hello, Refusal
from launcher.nodes.messages import Lost, Report, Reported
from launcher.nodes.peers import Links
from launcher.nodes.reception import Reception
from launcher.nodes.seal import Seal, fingerprint, key_of_session
from launcher.nodes.secret import JoinSecret
from launcher.plan.build import make_plan
from launcher.plan.nodes import Nodes
from launcher.plan.rendezvous import plan_nodes
from launcher.rundir import RunDir
from tests.hostile import ASKS, FAILURE, changed, dumped, is_clean, sizes, watched
from tests.plans import machine, sft
from tests.several_nodes import free_endpoint

SECONDS = 60.0
SECRET = b"the secret of all nodes"
KEY = b"a key of a session"
REPORT = TypeAdapter(Report)
few, many = sizes(25), sizes(1000)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("launcher.nodes.arrival.RETRY", 0.01)
    with watched(tmp_path, monkeypatch) as directory:
        yield
        assert list(directory.iterdir()) == []


# --- what is said -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    how: str
    body: bytes


HOW = ["sealed"] * 6 + ["with another key", "sent back", "out of order", "again", "bare", "raw", "half", "huge"]


def lines(body: st.SearchStrategy[bytes], most: int = 4) -> st.SearchStrategy[list[Said]]:
    return st.lists(st.builds(Said, st.sampled_from(HOW), body), max_size=most)


def on_the_wire(said: list[Said], key: bytes, is_node_0: bool) -> tuple[bytes, list[bytes]]:
    """The bytes, and the bodies that come before anything that an honest launch would not send."""
    seal, sent, honest, line = Seal(key, is_node_0), b"", True, b""
    believed: list[bytes] = []
    for each in said:
        line, is_right = _line(each, seal, key, is_node_0, line)
        honest = honest and is_right and b"\n" not in each.body
        sent += line
        believed += [each.body] if honest else []
    return sent, believed


def _line(said: Said, seal: Seal, key: bytes, is_node_0: bool, last: bytes) -> tuple[bytes, bool]:
    match said.how:
        case "sealed":
            return seal.seal(said.body), True
        case "with another key":
            return Seal(b"another", is_node_0).seal(said.body), False
        case "sent back":
            return Seal(key, not is_node_0).seal(said.body), False
        case "out of order":
            seal.seal(said.body)
            return seal.seal(said.body), False
        case "again":
            return last or b"\n", False
        case "bare":
            return said.body + b"\n", False
        case "half":
            return seal.seal(said.body)[:-2], False
        case "huge":
            return b"x" * 70_000, False
        case _:
            return said.body, False


# --- Links ------------------------------------------------------------------------------------------------------------

GOOD_REPORT = {"state": "failed", "signal": 15, "failure": FAILURE, "quiet": [["trainer", 3.0]]}
reports = lines(st.one_of(st.just(dumped(GOOD_REPORT)), st.just(b'{"state": "running"}'), changed(GOOD_REPORT)))
HOSTILE, HONEST = 1, 2


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    one.setblocking(False)
    return one, other


def believable(bodies: list[bytes]) -> list[Report]:
    """What the bodies say, until the first that says nothing."""
    found: list[Report] = []
    for body in bodies:
        try:
            found.append(REPORT.validate_json(body))
        except ValidationError:
            break
    return found


async def say_to_links(sent: bytes, piece: int, is_node_0: bool) -> list[Reported | Lost]:
    """What the links tell while one peer sends these bytes, and another a report as ever."""
    loop, troubles, events = asyncio.get_running_loop(), list[Any](), asyncio.Queue[Reported | Lost]()
    loop.set_exception_handler(lambda _, context: troubles.append(context))
    (hostile, its_end), (honest, other_end) = pair(), pair()
    links = Links(
        {HOSTILE: its_end, HONEST: other_end}, {node: Seal(KEY, is_node_0=not is_node_0) for node in (HOSTILE, HONEST)}
    )
    links.listen(loop, events.put_nowait)
    told: list[Reported | Lost] = []
    with hostile, honest:
        with suppress(OSError):  # the link may be lost before the end
            for start in range(0, len(sent), size := max(piece, len(sent) // 50)):
                await asyncio.wait_for(loop.sock_sendall(hostile, sent[start : start + size]), SECONDS)
        seal = Seal(KEY, is_node_0)
        await loop.sock_sendall(honest, seal.seal(b'{"state": "stopped"}'))
        while Reported(HONEST, Report("stopped")) not in told:
            told.append(await asyncio.wait_for(events.get(), SECONDS))
        links.tell(Report("running"))
        with suppress(OSError):
            hostile.shutdown(socket.SHUT_WR)
        while not any(isinstance(each, Lost) for each in told):
            told.append(await asyncio.wait_for(events.get(), SECONDS))
        answer = await asyncio.wait_for(loop.sock_recv(honest, 1 << 16), SECONDS)
        assert REPORT.validate_json(seal.open(answer.rstrip())) == Report("running")
        links.close()
    assert troubles == []
    return told + [events.get_nowait() for _ in range(events.qsize())]


def hear(said: list[Said], piece: int, is_node_0: bool) -> None:
    sent, believed = on_the_wire(said, KEY, is_node_0)
    told = asyncio.run(say_to_links(sent, piece, is_node_0))
    of_hostile = [each for each in told if each.node == HOSTILE]
    *reported, lost = of_hostile
    assert isinstance(lost, Lost)
    reports = believable(believed)
    assert reported == [Reported(HOSTILE, report) for report in reports]
    assert is_clean(str([json.loads(REPORT.dump_json(report)) for report in reports]))
    assert [each for each in told if each.node == HONEST] == [Reported(HONEST, Report("stopped"))]


pieces = st.sampled_from([7, 1000, 1 << 16, 1 << 20])


@few
@given(reports, pieces, st.booleans())
def test_a_link_believes_what_its_peer_has_sealed_or_is_lost(said: list[Said], piece: int, is_node_0: bool) -> None:
    hear(said, piece, is_node_0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@many
@given(reports, pieces, st.booleans())
def test_thousands_of_peers_are_believed_or_lost(said: list[Said], piece: int, is_node_0: bool) -> None:
    hear(said, piece, is_node_0)


# --- Reception --------------------------------------------------------------------------------------------------------

GOOD_HELLO = {"node": 1, "host": "n1", "asks": ASKS, "inference_port": 80, "name": "otter", "nonce": "ab"}
hellos = lines(st.one_of(st.just(dumped(GOOD_HELLO)), changed(GOOD_HELLO)), most=3)


class Hall:
    """Node 0, which waits for more nodes than ever come, in a thread."""

    def __init__(self) -> None:
        port = int(free_endpoint().rpartition(":")[2])
        of_thousand = ("--nnodes", "1000", "--node-rank", "0", "--trainer.batch-size", "1000")
        config = sft(*of_thousand, "--rdzv-endpoint", f"127.0.0.1:{port}")
        on = replace(machine(), nodes=plan_nodes(config), run_id="id")
        plan = make_plan(config, on, RunDir(Path("/runs/otter")), "otter")
        self.said: list[str] = []
        self.is_open, self.at = threading.Event(), ("127.0.0.1", port + 1)
        self.reception = Reception(plan, Hello(0, "n0", ASKS, 0, "otter"), SECRET, 3600, self._say)
        self.pool = ThreadPoolExecutor(1)
        self.meeting = self.pool.submit(self.reception.receive)
        assert self.is_open.wait(SECONDS)

    def _say(self, text: str) -> None:
        self.said.append(text)
        self.is_open.set()

    def visit(self, said: list[Said]) -> list[bytes]:
        """Say this, and nothing more; the lines of the answer."""
        nonces = [nonce for each in said if (nonce := nonce_of(each.body)) is not None]
        with socket.create_connection(self.at, timeout=SECONDS) as guest, guest.makefile("rb") as lines:
            challenge = json.loads(lines.readline())
            key = key_of_session(SECRET, (challenge["nonce"], nonces[0] if nonces else ""))
            sent, _ = on_the_wire(said, key, is_node_0=False)
            try:
                guest.sendall(sent)
                guest.shutdown(socket.SHUT_WR)
                return lines.readlines()
            except TimeoutError:
                raise
            except OSError:  # not all of it was read
                return []

    def ask(self) -> None:
        """A launch that is none of this run is told so, as ever."""
        (answer,) = self.visit([Said("sealed", dumped(GOOD_HELLO | {"node": 0}))])
        assert b"--node-rank 0: there are 1000 nodes" in answer

    def close(self) -> None:
        self.reception.deadline = 0.0
        with suppress(ConnectionError):
            socket.create_connection(self.at, timeout=SECONDS).close()
        with pytest.raises(UserError, match="did not join within"):
            self.meeting.result(SECONDS)
        self.pool.shutdown()


def nonce_of(body: bytes) -> str | None:
    try:
        return HELLO.validate_json(body).nonce
    except ValidationError:
        return None


@pytest.fixture
def hall() -> Iterator[Hall]:
    hall = Hall()
    yield hall
    hall.close()


def knock(hall: Hall, said: list[Said]) -> None:
    before = len(hall.said)
    answer = hall.visit(said)
    hall.ask()
    for line in answer:
        assert isinstance(refusal := ANSWER.validate_json(line.partition(b" ")[2]), Refusal)
        assert is_clean(refusal.why)
    heard = hall.said[before:]
    assert is_clean("".join(heard))
    if not said or said[0].how != "sealed":
        assert heard == []
    assert not hall.meeting.done()


@few
@given(said=hellos)
def test_node_0_takes_in_who_has_sealed_a_hello_and_refuses_others(hall: Hall, said: list[Said]) -> None:
    knock(hall, said)


@pytest.mark.slow
@pytest.mark.timeout(900)
@many
@given(said=hellos)
def test_thousands_are_taken_in_or_refused(hall: Hall, said: list[Said]) -> None:
    knock(hall, said)


def test_a_hello_that_is_right_is_taken_in(hall: Hall) -> None:
    assert hall.visit([Said("sealed", dumped(GOOD_HELLO))]) == []
    hall.ask()
    assert hall.said[1:] == ["node 1 (n1) has joined", "node 1 (n1) has left"]


# --- Arrival ----------------------------------------------------------------------------------------------------------

GOOD_CHALLENGE = {"nonce": "ab", "secret": fingerprint(SECRET)}
GOOD_WELCOME = {"name": "otter", "attempt": 1, "run_id": "ab", "hosts": ["n0", "n1"], "inference_ports": [80, 0]}
FULL = {"why": "full"}
challenges = st.one_of(*[st.just(dumped(GOOD_CHALLENGE))] * 4, changed(GOOD_CHALLENGE))
answers = lines(
    st.one_of(
        st.just(dumped(GOOD_WELCOME)), st.just(dumped({"why": "full"})), changed(GOOD_WELCOME), changed({"why": "x"})
    ),
    most=3,
)


@dataclass(frozen=True)
class Forged:
    """Where a node 0 would listen, and what node 1 knows of it."""

    listener: socket.socket
    nodes: Nodes


@pytest.fixture
def forged() -> Iterator[Forged]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.005)
        where = f"127.0.0.1:{listener.getsockname()[1] - 1}"
        nodes = plan_nodes(sft("--nnodes", "2", "--node-rank", "1", "--rdzv-endpoint", where))
        assert nodes is not None
        yield Forged(listener, nodes)


def is_challenge(body: bytes) -> bool:
    try:
        return CHALLENGE.validate_json(body).secret == fingerprint(SECRET)
    except ValidationError:
        return False


def answer(connection: socket.socket, challenge: bytes, said: list[Said]) -> None:
    """Say this in place of node 0, which may know the secret, and nothing more."""
    with connection, connection.makefile("rb") as lines, suppress(OSError):
        connection.settimeout(SECONDS)
        connection.sendall(challenge + b"\n")
        body = lines.readline().partition(b" ")[2]
        nonces = (CHALLENGE.validate_json(challenge).nonce, HELLO.validate_json(body).nonce) if body else ("", "")
        connection.sendall(on_the_wire(said, key_of_session(SECRET, nonces), is_node_0=True)[0])


def join(forged: Forged, challenge: bytes, said: list[Said]) -> None:
    within = SECONDS if is_challenge(challenge) else 0.01
    shown: list[str] = []
    arriving = Arrival(forged.nodes, Hello(1, "n1", ASKS, 0, None), JoinSecret(SECRET), within, shown.append)
    with ThreadPoolExecutor(1) as pool:
        joined = pool.submit(arriving.join)
        while not joined.done():
            with suppress(TimeoutError):
                answer(forged.listener.accept()[0], challenge, said)
        error = joined.exception()
    assert error is None or isinstance(error, UserError), repr(error)
    assert is_clean("".join([*shown, str(error)]))
    if error is not None:
        return
    meeting = joined.result()
    assert said[0].how == "sealed" and meeting.welcome == ANSWER.validate_json(said[0].body)
    assert is_clean(str(meeting.welcome)) and re.fullmatch(NAME, meeting.welcome.name)
    meeting.call_off("it was a test")


@few
@given(challenge=challenges, said=answers)
def test_a_node_joins_who_has_sealed_a_welcome_and_nobody_else(
    forged: Forged, challenge: bytes, said: list[Said]
) -> None:
    join(forged, challenge, said)


@pytest.mark.slow
@pytest.mark.timeout(900)
@many
@given(challenge=challenges, said=answers)
def test_thousands_of_nodes_0_are_joined_or_not(forged: Forged, challenge: bytes, said: list[Said]) -> None:
    join(forged, challenge, said)
