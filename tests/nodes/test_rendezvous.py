"""Nodes that meet on loopback before anything is started."""

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import NotNow, UserError
from launcher.nodes import reception
from launcher.nodes.meeting import Meeting
from launcher.nodes.rendezvous import meet
from launcher.nodes.seal import Seal, fingerprint, key_of_session
from launcher.nodes.secret import JoinSecret
from launcher.plan.build import make_plan
from launcher.plan.rendezvous import plan_nodes
from launcher.plan.spec import Plan
from launcher.rundir import RunDir
from tests.plans import machine, sft
from tests.several_nodes import free_endpoint

SECONDS = 60.0
SECRET = JoinSecret(b"the secret of all nodes")


class Party:
    """Plans of nodes, and threads in which they meet."""

    def __init__(self, count: int = 2) -> None:
        self.endpoint, self.count = free_endpoint(), count
        self.said: list[str] = []
        self.has_said = threading.Condition()
        self.pool = ThreadPoolExecutor(8)

    def plan(self, node: int, *options: str, name: str = "otter") -> Plan:
        where = ("--node-rank", str(node), "--rdzv-endpoint", self.endpoint)
        config = sft("--nnodes", str(self.count), *where, *options)
        on = replace(machine(), nodes=plan_nodes(config), run_id=f"id-of-{node}")
        return make_plan(config, on, RunDir(Path("/runs") / name, 3), name)

    def come(
        self,
        plan: Plan,
        name: str | None = None,
        seconds: float = SECONDS,
        secret: JoinSecret = SECRET,
    ) -> Future[Meeting]:
        port = 8000 + (plan.nodes.rank if plan.nodes else 0)
        return self.pool.submit(meet, plan, name, port, seconds, self._say, secret)

    def _say(self, text: str) -> None:
        with self.has_said:
            self.said.append(text)
            self.has_said.notify_all()

    def wait_until_said(self, text: str) -> None:
        with self.has_said:
            assert self.has_said.wait_for(lambda: any(text in said for said in self.said), SECONDS), self.said


def begun(meeting: Future[Meeting]) -> Meeting:
    """The meeting once it has begun, its connections closed."""
    found = meeting.result(SECONDS)
    found.begin()
    return found


def close(*meetings: Meeting) -> None:
    for meeting in meetings:
        for each in meeting._sockets.values():
            each.close()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_nodes_come_in_any_order_and_go_by_what_node_0_says(order: tuple[int, ...]) -> None:
    party = Party(3)
    meetings = dict(sorted((node, party.come(party.plan(node))) for node in order))
    first = begun(meetings[0])
    others = [meetings[node].result(SECONDS) for node in (1, 2)]
    for other in others:
        assert (other.welcome.name, other.welcome.attempt, other.welcome.run_id) == ("otter", 3, "id-of-0")
        assert other.welcome == first.welcome
    assert first.nodes.hosts == ("127.0.0.1", "127.0.0.1", "127.0.0.1")
    assert first.nodes.inference_ports == (8000, 8001, 8002)
    close(first, *others)


def test_the_longest_time_to_wait_is_no_trouble_for_any_timer() -> None:
    party = Party()
    other = party.come(party.plan(1), seconds=3.9e9)
    head = party.come(party.plan(0), seconds=3.9e9)
    close(begun(head), other.result(SECONDS))


def test_nobody_begins_before_node_0_does() -> None:
    party = Party()
    head, other = party.come(party.plan(0)), party.come(party.plan(1))
    meeting = head.result(SECONDS)
    assert not other.done()
    meeting.begin()
    close(meeting, other.result(SECONDS))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda party: party.come(party.plan(1, "--nproc", "2")), "ranks per node: 2 on node 1, 1 on node 0"),
        (lambda party: party.come(party.plan(1), name="badger"), "on node 0 the run is called otter"),
    ],
)
def test_a_node_that_does_not_fit_is_told_why_and_the_others_go_on_waiting(
    make: Callable[[Party], Future[Meeting]], why: str
) -> None:
    party = Party()
    head = party.come(party.plan(0))
    with pytest.raises(UserError, match=why) as refused:
        make(party).result(SECONDS)
    assert not isinstance(refused.value, NotNow)
    other = party.come(party.plan(1))
    meeting = begun(head)
    close(meeting, other.result(SECONDS))


def test_a_rank_of_a_node_is_taken_once() -> None:
    party = Party(3)
    head, one = party.come(party.plan(0)), party.come(party.plan(1))
    party.wait_until_said("node 1 (")
    with pytest.raises(UserError, match="is node 1 already"):
        party.come(party.plan(1)).result(SECONDS)
    two = party.come(party.plan(2))
    meeting = begun(head)
    close(meeting, one.result(SECONDS), two.result(SECONDS))


def test_who_is_missing_is_said_on_every_node() -> None:
    party = Party(3)
    plans = [party.plan(0), party.plan(2)]
    other, head = party.come(plans[1]), party.come(plans[0], seconds=6.0)
    for meeting in (head, other):
        with pytest.raises(NotNow, match="did not join within 6s: node 1 of 3"):
            meeting.result(SECONDS)


def test_a_node_0_that_does_not_come_is_said() -> None:
    party = Party()
    with pytest.raises(NotNow, match=r"node 0 did not answer within 0\.5s: 127\.0\.0\.1:.*refused"):
        party.come(party.plan(1), seconds=0.5).result(SECONDS)


def test_strangers_at_the_port_change_nothing() -> None:
    party = Party()
    head = party.come(party.plan(0))
    party.wait_until_said("node 0 waits")
    where = ("127.0.0.1", int(party.endpoint.split(":")[1]) + 1)
    silent = socket.create_connection(where)
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"\x00\xff\n", b"{}\n", b""):
        with socket.create_connection(where) as stranger, suppress(OSError):
            stranger.sendall(words)
    other = party.come(party.plan(1))
    meeting = begun(head)
    close(meeting, other.result(SECONDS))
    silent.close()


def test_what_keeps_node_0_from_beginning_is_told_to_the_others() -> None:
    party = Party()
    head, other = party.come(party.plan(0)), party.come(party.plan(1))
    head.result(SECONDS).call_off("/runs/otter: holds a run already")
    with pytest.raises(NotNow, match="node 0: /runs/otter: holds a run already"):
        other.result(SECONDS)


def test_a_port_that_is_taken_is_said_with_what_to_do() -> None:
    party = Party()
    port = int(party.endpoint.split(":")[1]) + 1
    with socket.create_server(("", port)), pytest.raises(UserError, match=f"cannot listen on port {port}"):
        party.come(party.plan(0)).result(SECONDS)


# --- what others may try ----------------------------------------------------------------------------------------------

HELLO = b'{"node": 1, "host": "x", "asks": {}, "inference_port": 1, "name": null, "nonce": "n"}'
WELCOME = {"name": "otter", "attempt": 1, "run_id": "x", "hosts": ["h", "h"], "inference_ports": [0, 0]}


def control(party: Party) -> tuple[str, int]:
    return "127.0.0.1", int(party.endpoint.split(":")[1]) + 1


def waiting(party: Party, secret: JoinSecret = SECRET) -> Future[Meeting]:
    """Node 0, at its port."""
    head = party.come(party.plan(0), seconds=60, secret=secret)
    party.wait_until_said("node 0 waits")
    return head


def check_that_it_still_begins(party: Party, head: Future[Meeting], secret: JoinSecret = SECRET) -> None:
    other = party.come(party.plan(1), seconds=60, secret=secret)
    close(begun(head), other.result(SECONDS))


@pytest.mark.parametrize(
    ("here", "there", "why"),
    [
        (SECRET, JoinSecret(), "has a secret, but this node has none"),
        (SECRET, JoinSecret(b"not the secret of all"), "has another secret"),
        (JoinSecret(), SECRET, "has no secret, but this node has one"),
    ],
)
def test_a_node_without_the_secret_is_told_so_and_the_others_go_on_waiting(
    here: JoinSecret, there: JoinSecret, why: str
) -> None:
    party = Party()
    head = waiting(party, here)
    with pytest.raises(UserError, match=why):
        party.come(party.plan(1), secret=there).result(SECONDS)
    check_that_it_still_begins(party, head, here)


def answer_to(party: Party, line: bytes) -> bytes:
    """What node 0 answers to a stranger that speaks its language."""
    with socket.create_connection(control(party), timeout=SECONDS) as stranger, stranger.makefile("rb") as lines:
        lines.readline()
        stranger.sendall(line + b"\n")
        return lines.readline()


def test_a_hello_without_the_secret_or_with_the_seal_of_an_earlier_one_is_refused() -> None:
    party = Party()
    head = waiting(party)
    old = Seal(key_of_session(SECRET.key or b"", ("a nonce of before", "n")), is_node_0=False)
    for line in (b"- " + HELLO, old.seal(HELLO)):
        assert b"has not shown that it knows the run's secret" in answer_to(party, line)
    check_that_it_still_begins(party, head)


def test_all_that_nodes_must_have_in_common_is_compared_also_what_one_leaves_out() -> None:
    party = Party()
    head = waiting(party, JoinSecret())
    assert b"command: nothing on node 1, sft on node 0" in answer_to(party, b"- " + HELLO)
    check_that_it_still_begins(party, head, JoinSecret())


def test_a_hello_that_no_launch_says_is_refused() -> None:
    party = Party()
    head = waiting(party, JoinSecret())
    for spoilt in (
        {"node": -1},
        {"node": 1e99},
        {"host": "\x1b[2J"},
        {"name": "#(touch x)"},
        {"inference_port": 99999},
        {"asks": ["x"]},
    ):
        line = b"- " + json.dumps(json.loads(HELLO) | spoilt).encode()
        assert b"this is the port where nodes" in answer_to(party, line), spoilt
    check_that_it_still_begins(party, head, JoinSecret())


@pytest.mark.parametrize(
    "spoilt",
    [
        {"name": "#(touch x)"},
        {"name": "../../x"},
        {"attempt": 0},
        {"run_id": "a b"},
        {"hosts": ["\x1b[2J", "h"]},
        {"hosts": ["h"] * 1000},
        {"inference_ports": [1, 70_000]},
    ],
)
def test_a_welcome_that_no_node_0_says_begins_nothing(spoilt: dict[str, Any]) -> None:
    party = Party()
    with socket.create_server(control(party)) as node_0:
        other = party.come(party.plan(1), secret=JoinSecret())
        connection, _ = node_0.accept()
        connection.sendall(b'{"nonce": "n", "secret": null}\n- ' + json.dumps(WELCOME | spoilt).encode() + b"\n")
        with pytest.raises(UserError, match="node 0"):
            other.result(SECONDS)
        connection.close()


def test_a_node_0_without_a_secret_is_not_believed_where_all_nodes_share_a_directory(tmp_path: Path) -> None:
    """Whoever listens at the port first, before node 0 does, could say that there is none."""
    party = Party()
    with socket.create_server(control(party)) as node_0:
        other = party.come(party.plan(1), secret=JoinSecret(shared=tmp_path / ".join-x"))
        connection, _ = node_0.accept()
        connection.sendall(b'{"nonce": "n", "secret": null}\n- ' + json.dumps(WELCOME).encode() + b"\n")
        with pytest.raises(NotNow, match="has no secret, and has written none"):
            other.result(SECONDS)
        connection.close()


def test_a_node_0_that_only_repeats_the_challenge_of_a_run_is_not_believed() -> None:
    party = Party()
    with socket.create_server(control(party)) as node_0:
        other = party.come(party.plan(1))
        connection, _ = node_0.accept()
        challenge = json.dumps({"nonce": "n", "secret": fingerprint(SECRET.key)}).encode()
        connection.sendall(challenge + b"\n- " + json.dumps(WELCOME).encode() + b"\n")
        with pytest.raises(UserError, match="does not know the run's secret"):
            other.result(SECONDS)
        connection.close()


def test_a_thousand_connections_that_say_nothing_keep_no_node_out() -> None:
    party = Party()
    head = waiting(party)
    with ExitStack() as stack:
        for _ in range(1100):
            with suppress(OSError):
                stack.enter_context(socket.create_connection(control(party), timeout=SECONDS))
        check_that_it_still_begins(party, head)


def test_a_line_without_an_end_is_cut_off() -> None:
    party = Party()
    head = waiting(party)
    with socket.create_connection(control(party), timeout=SECONDS) as stranger, pytest.raises(OSError):
        for _ in range(1000):
            stranger.sendall(b"x" * 65536)
    check_that_it_still_begins(party, head)


def test_who_says_nothing_is_dropped_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "HELLO_SECONDS", 0.2)
    party = Party()
    head = waiting(party)
    with socket.create_connection(control(party), timeout=SECONDS) as silent:
        while silent.recv(1 << 16):
            pass
    monkeypatch.setattr(reception, "HELLO_SECONDS", SECONDS)
    check_that_it_still_begins(party, head)


def test_node_0_listens_at_the_endpoint_alone() -> None:
    party = Party()
    head = waiting(party)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", control(party)[1]), timeout=SECONDS)
    check_that_it_still_begins(party, head)


def test_on_loopback_nothing_is_said_of_a_missing_secret() -> None:
    party = Party()
    check_that_it_still_begins(party, waiting(party, JoinSecret()), JoinSecret())
    assert not [said for said in party.said if "no secret" in said]


def test_node_0_listens_before_its_own_name_is_in_dns() -> None:
    with reception._listening_at("otter-1-trainer-0-0.otter-1.invalid", 0) as listener:
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=SECONDS).close()
