"""Looks at the processes of all nodes, over real connections between three of them."""

import asyncio
import socket
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.failure.failure import Diagnosis
from launcher.nodes.messages import LookAsked, LookAt, LookPart
from launcher.nodes.peers import Links
from launcher.nodes.seal import Seal
from launcher.plan.nodes import Nodes
from launcher.stacks.collectives import Call, Position, Recording
from launcher.stacks.frames import Frame, PythonProcess, Stack, Thread
from launcher.stacks.looks import Look, packed, unpacked
from launcher.supervisor import looks as module
from launcher.supervisor.looks import Looks
from launcher.supervisor.rules.events import Diagnosed

COUNT = 3


def look(node: int, size: int = 1) -> Look:
    frames = tuple(Frame(f"step_{number}", f"/a b/\udc80{number * 7919 % 10007}.py", number) for number in range(size))
    process = PythonProcess(100 + node, "trainer", node)
    position = Position(4, 3, {4: Call("all_reduce", 1000.0 + node)})
    return Look(
        node, (Stack(process, (Thread("MainThread", frames, waits=True),)),), (Recording(node, {"0": position}),)
    )


class Node:
    """One node's side of everything."""

    def __init__(self, rank: int, links: Links, size: int) -> None:
        self.rank, self.links, self.size, self.kept = rank, links, size, list[Look]()
        self.posted: list[Diagnosed] = []
        self.tasks: set[asyncio.Task[None]] = set()
        nodes = Nodes(rank, COUNT, 0, "127.0.0.1", 29500)
        self.looks = Looks(nodes, links, self.take, self.diagnose, self.posted.append, self.in_background)

    def take(self, at: LookAt) -> Look:
        return look(self.rank, self.size)

    def diagnose(self, looks: Any) -> Diagnosis:
        self.kept += looks
        return Diagnosis(lines=tuple(str(each.node) for each in looks))

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def hear(self, node: int, message: LookAsked | LookPart) -> None:
        self.looks.hear(node, message)


def of_all(work: Any, size: int = 1, silent: tuple[int, ...] = ()) -> Any:
    """What `work` returns for three linked nodes, of which some never answer."""

    async def main() -> Any:
        ends = {node: socket.socketpair() for node in range(1, COUNT)}
        seals = {node: Seal(b"session", is_node_0=True) for node in ends}
        nodes = [Node(0, Links({node: ours for node, (ours, _) in ends.items()}, seals), size)]
        for node, (_, theirs) in ends.items():
            nodes.append(Node(node, Links({0: theirs}, {0: Seal(b"session", is_node_0=False)}), size))
        for node in nodes:
            if node.rank not in silent:
                node.links.listen(asyncio.get_running_loop(), lambda event: None, node.hear)
        try:
            return await work(nodes)
        finally:
            for node in nodes:
                if node.rank not in silent:
                    node.links.close()
            for pair in ends.values():
                for each in pair:
                    each.close()

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def _tcp_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("launcher.nodes.peers.keep_alive", lambda each: None)
    yield


@pytest.mark.parametrize("asking", [0, 2])
@pytest.mark.parametrize("size", [1, 20_000])
def test_every_node_sees_what_all_others_are_doing(asking: int, size: int) -> None:
    async def ask(nodes: list[Node]) -> list[Look]:
        return await nodes[asking].looks.others("all")

    found = of_all(ask, size)
    assert [each.node for each in found] == [node for node in range(COUNT) if node != asking]
    for each in found:
        assert each.stacks == look(each.node, size).stacks
        (call,) = each.recordings[0].positions["0"].calls.values()
        assert abs(call.enqueued - 1000.0 - each.node) < 5  # the clocks are one


def test_a_stall_is_diagnosed_from_all_nodes_and_each_writes_down_its_own_part() -> None:
    async def ask(nodes: list[Node]) -> tuple[Diagnosis, list[Node]]:
        return await nodes[0].looks.diagnosis(), nodes

    diagnosis, nodes = of_all(ask)
    assert diagnosis.lines == ("0", "1", "2")
    assert [[each.node for each in node.kept] for node in nodes] == [[0, 1, 2], [1], [2]]
    assert [node.posted for node in nodes] == [
        [],
        [Diagnosed(Diagnosis(lines=("1",)))],
        [Diagnosed(Diagnosis(lines=("2",)))],
    ]


def test_a_node_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", {"all": 4.0, "collectives": 4.0})

    async def ask(nodes: list[Node]) -> list[Look]:
        return await nodes[1].looks.others("all")

    zero, two = of_all(ask, silent=(2,))
    assert (zero.trouble, zero.stacks) == ("", look(0).stacks)
    assert two == Look(2, trouble="has not answered within 4s")


def test_times_of_a_node_whose_clock_is_ahead_are_put_right(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(nodes: list[Node]) -> list[Look]:
        began = time.time()
        turn = module._Round(began, {1})
        nodes[0].looks._collect(1, LookPart(1, 1, 0, 1, packed(look(1)), began + 60, began + 60), turn)
        return [turn.looks[1].by_clock(turn.ahead[1])]

    (found,) = of_all(ask)
    assert abs(found.recordings[0].positions["0"].calls[4].enqueued - (1001.0 - 60)) < 1


def test_nobody_answers_for_another_node_but_node_0() -> None:
    async def ask(nodes: list[Node]) -> dict[int, Look]:
        turn = module._Round(time.time(), {1})
        nodes[0].looks._collect(2, LookPart(1, 1, 0, 1, packed(look(1))), turn)
        return turn.looks

    assert of_all(ask) == {}


@pytest.mark.parametrize("text", ["", "x", "eJwDAAAAAAE=", packed(look(1))[:-8]])
def test_what_is_no_look_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpacked(text)


def test_a_look_that_would_take_all_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = packed(look(1, 10_000))
    monkeypatch.setattr("launcher.stacks.looks.LARGEST", 1000)
    with pytest.raises(ValueError, match="longer than 1000 bytes"):
        unpacked(text)


def test_a_look_is_the_same_after_its_journey() -> None:
    assert unpacked(packed(look(1, 100))) == look(1, 100)
    assert Path(look(1).stacks[0].threads[0].frames[0].file).name == "\udc800.py"
