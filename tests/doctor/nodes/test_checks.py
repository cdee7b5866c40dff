"""What node 0 makes of the other nodes' answers."""

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.doctor.nodes import checks
from launcher.doctor.nodes.checks import Examination
from launcher.doctor.nodes.node import Node
from launcher.nodes.channel import Channel
from launcher.nodes.seal import Seal
from launcher.plan.nodes import Nodes


@pytest.mark.parametrize(
    "answer", [{"GPUs": "many"}, {"failed": [1]}, {"torch": []}, {"time": [0]}, {"seconds": "x"}, {"port": 70_000}]
)
def test_an_answer_of_another_shape_is_a_trouble_of_that_node(answer: dict[str, Any], tmp_path: Path) -> None:
    here, there = socket.socketpair()
    own = Node(tmp_path)
    try:
        asked = Examination(Nodes(0, 2, 0, "gpu01", 29500), own, {1: Channel(here, Seal(b"key", is_node_0=True))})
        Channel(there, Seal(b"key", is_node_0=False)).send(answer)
        assert asked._ask(1, {"ask": "facts"}) == {"trouble": "its answer is not valid"}
    finally:
        own.close()
        here.close()
        there.close()


@pytest.mark.parametrize(("ahead", "state"), [(0.0, "ok"), (10.0, "warn")])
def test_a_node_that_is_busy_answers_late_and_its_clock_is_right_all_the_same(
    ahead: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "CLOCKS", 0.05)
    here, there = socket.socketpair()
    other = Channel(there, Seal(b"key", is_node_0=False))

    def answer_late() -> None:
        for _ in range(checks.LOOKS):
            other.receive(60)
            time.sleep(0.2)
            other.send({"time": time.time() + ahead})

    answering, own = threading.Thread(target=answer_late), Node(tmp_path)
    answering.start()
    try:
        asked = Examination(Nodes(0, 2, 0, "gpu01", 29500), own, {1: Channel(here, Seal(b"key", is_node_0=True))})
        assert asked._clocks().state == state
    finally:
        answering.join()
        own.close()
        here.close()
        there.close()
