"""A launch that has met node 0 and waits."""

import signal
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from launcher.failure.failure import Culprit
from launcher.nodes.meeting import Meeting, Welcome
from launcher.nodes.messages import REPORT, Report
from launcher.nodes.seal import Seal
from launcher.nodes.spare import GONE, Called, wait_to_be_called
from launcher.plan.nodes import Nodes

HOSTS = ("gpu01", "gpu02", "gpu03", "gpu04")
NODES = Nodes(2, 2, 0, "gpu01", 29500, spares=2, hosts=HOSTS, inference_ports=(0, 0, 0, 0))
RUNNING = Report("running", attempt=1)


class Node0:
    """Node 0's end of the connection."""

    def __init__(self) -> None:
        self.socket, there = socket.socketpair()
        self.seal, self.said = Seal(b"key", is_node_0=True), list[str]()
        welcome = Welcome("otter", 1, "id", NODES.hosts, NODES.inference_ports)
        self.meeting = Meeting(NODES, welcome, {0: there}, {0: Seal(b"key", is_node_0=False)}, b"secret")

    def reports(self, *reports: Report) -> Called | int:
        """What the spare makes of these reports, after which node 0 is gone."""
        for report in reports:
            self.socket.sendall(self.seal.seal(REPORT.dump_json(report)))
        self.socket.shutdown(socket.SHUT_WR)
        return wait_to_be_called(self.meeting, self.said.append)


@pytest.fixture
def node_0() -> Iterator[Node0]:
    made = Node0()
    yield made
    made.socket.close()
    made.meeting._sockets[0].close()


def test_it_says_what_it_waits_for_and_takes_the_place_that_node_0_gives_it(node_0: Node0) -> None:
    lost = Report("restarting", culprit=Culprit("node 1", "its launch is gone", node=1))
    found = node_0.reports(RUNNING, lost, Report("running", attempt=2, places=(0, 2)))
    assert isinstance(found, Called)
    assert (found.attempt, found.nodes.place, found.nodes.text) == (2, 1, "node 2 in place 1 of 2")
    assert node_0.said == [
        "node 2 is a spare: it waits until a node of otter is lost; Ctrl-C leaves the run",
        "the run is restarting: node 1: its launch is gone",
        "node 2 takes the place of node 1",
    ]


def test_what_node_0_says_after_the_call_is_left_for_the_run(node_0: Node0) -> None:
    later = replace(RUNNING, attempt=2, places=(0, 2), done=True)
    assert isinstance(node_0.reports(replace(later, done=False), later), Called)
    assert REPORT.validate_json(node_0.meeting.hear_node_0()) == later


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (Report("finished", ended=True), 0),
        (Report("failed", ended=True), 1),
        (Report("stopped", signal=signal.SIGINT, ended=True), 130),
    ],
)
def test_it_ends_with_the_run_and_with_its_exit_code(node_0: Node0, last: Report, code: int) -> None:
    assert node_0.reports(RUNNING, replace(last, ended=False), last) == code


def test_a_place_given_to_another_spare_is_not_its_own(node_0: Node0) -> None:
    assert node_0.reports(Report("running", attempt=2, places=(0, 3)), Report("finished", attempt=2, ended=True)) == 0


@pytest.mark.parametrize("places", [(2,), (2, 0), (0, 4), (0, 2, 1), (0, 2, 2)])
def test_places_that_cannot_be_are_not_believed(node_0: Node0, places: tuple[int, ...]) -> None:
    assert node_0.reports(RUNNING, Report("running", attempt=2, places=places)) == 1
    assert "takes the place" not in "".join(node_0.said)


def test_without_node_0_the_run_has_failed(node_0: Node0) -> None:
    assert node_0.reports(RUNNING) == 1
    assert node_0.said[-1] == GONE


def test_somebody_else_cannot_call_it(node_0: Node0) -> None:
    node_0.seal = Seal(b"another key", is_node_0=True)
    assert node_0.reports(Report("running", attempt=2, places=(0, 2))) == 1
