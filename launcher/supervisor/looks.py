"""Finds out what the processes of all nodes are doing, for `launch stacks` and when a run has stalled.

Node 0 asks every other node over its link. Another node asks node 0, which passes on the answers of all.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter

from launcher.failure.failure import Diagnosis
from launcher.logger import get_logger
from launcher.nodes.messages import LookAsked, LookAt, LookPart
from launcher.nodes.peers import Links
from launcher.plan.nodes import Nodes
from launcher.stacks.looks import Look, packed, unpacked
from launcher.supervisor.rules.events import Diagnosed

PART = 48 * 1024  # characters of a line
MOST_PARTS = 256
SECONDS: dict[LookAt, float] = {"all": 20.0, "collectives": 5.0}  # that another node has to answer
MARGIN = 2.0  # seconds more for node 0, which asks the others

_ASKED, _PART = TypeAdapter(LookAsked), TypeAdapter(LookPart)

Take = Callable[[LookAt], Look]
"""Looks at this node's processes. It is called in a thread."""
Diagnose = Callable[[Sequence[Look]], Diagnosis]
"""Says what looks show, and writes it down. It is called in a thread."""


@dataclass
class _Round:
    """One question, and its answers as far as they have come."""

    asked: float  # when
    awaited: set[int]  # nodes
    looks: dict[int, Look] = field(default_factory=dict)
    parts: dict[int, dict[int, str]] = field(default_factory=dict)
    ahead: dict[int, float] = field(default_factory=dict)  # the clocks of nodes, compared with ours
    is_complete: asyncio.Event = field(default_factory=asyncio.Event)


class Looks:
    """Asks, and answers when another node asks."""

    def __init__(
        self,
        nodes: Nodes | None,
        links: Links | None,
        take: Take | None,
        diagnose: Diagnose | None,
        post: Callable[[Diagnosed], None],
        in_background: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._here = nodes.rank if nodes else None
        self.places, self._links = nodes.places if nodes else (0,), links  # the nodes that the attempt runs on
        self._take, self._diagnose, self._post, self._in_background = take, diagnose, post, in_background
        self._rounds: dict[int, _Round] = {}
        self._number = 0

    async def diagnosis(self) -> Diagnosis:
        """The run has stalled: what all nodes are doing. Each of them writes its own part down."""
        own, others = await asyncio.gather(self._own("all"), self.others("all", keep=True))
        return await self._diagnosis_of([own, *others])

    async def others(self, at: LookAt, keep: bool = False, but: int | None = None) -> list[Look]:
        """A look at every other node but one, by the clock of this one. Those without an answer say why."""
        if self._links is None or self._here is None:
            return []
        nodes = [node for node in self.places if node not in (self._here, but)]
        ask = [node for node in (nodes if self._here == 0 else [0]) if node in self._links.nodes]
        self._number += 1
        turn = _Round(time.time(), set(ask if self._here == 0 else nodes))
        self._rounds[self._number] = turn
        question = LookAsked(self._number, at, everywhere=self._here != 0, keep=keep)
        for node in ask:
            self._links.send_to(node, _ASKED.dump_json(question))
        seconds = SECONDS[at] + (MARGIN if self._here else 0.0)
        if turn.awaited:
            with suppress(TimeoutError):
                await asyncio.wait_for(turn.is_complete.wait(), seconds)
        del self._rounds[question.number]
        silent = f"has not answered within {seconds:g}s"
        found = [turn.looks.get(node) or Look(node, trouble=silent) for node in nodes]
        return [look.by_clock(turn.ahead.get(look.node or 0, turn.ahead.get(0, 0.0))) for look in found]

    async def packed_others(self, at: LookAt) -> tuple[str, ...]:
        """The same as text, for a command that asks."""
        try:
            found = await self.others(at)
            return tuple(await asyncio.to_thread(lambda: [packed(look) for look in found]))
        except Exception:  # a look must not end the run
            get_logger().exception("the other nodes could not be asked what their processes are doing")
            return ()

    def hear(self, node: int, message: LookAsked | LookPart) -> None:
        """A message of another node."""
        if isinstance(message, LookAsked):
            self._in_background(self._answer(node, message, time.time()))
        elif (turn := self._rounds.get(message.number)) and message.parts <= MOST_PARTS:
            self._collect(node, message, turn)

    # --- answers ---

    async def _own(self, at: LookAt) -> Look:
        if self._take is None:
            return Look(self._here, trouble="cannot look at its processes")
        try:
            return await asyncio.to_thread(self._take, at)
        except Exception as error:
            return Look(self._here, trouble=f"no stacks could be taken: {error}")

    async def _diagnosis_of(self, looks: Sequence[Look]) -> Diagnosis:
        if self._diagnose is None:
            return Diagnosis()
        try:
            return await asyncio.to_thread(self._diagnose, looks)
        except Exception as error:
            return Diagnosis(lines=(f"no stacks could be compared: {error}",))

    async def _answer(self, node: int, asked: LookAsked, at: float) -> None:
        try:
            await self._look_and_send(node, asked, at)
        except Exception:  # a look must not end the run
            get_logger().exception("node {} could not be told what the processes are doing", node)

    async def _look_and_send(self, node: int, asked: LookAsked, at: float) -> None:
        others = self.others(asked.at, but=node) if asked.everywhere else _nothing()
        own, rest = await asyncio.gather(self._own(asked.at), others)
        if asked.keep:
            self._post(Diagnosed(await self._diagnosis_of([own])))
        await self._send(node, asked.number, own, at)
        for look in rest:
            await self._send(node, asked.number, look)

    async def _send(self, node: int, number: int, look: Look, asked: float = 0.0) -> None:
        assert self._links is not None and look.node is not None
        text = await asyncio.to_thread(packed, look)
        if len(text) > PART * MOST_PARTS:
            text = packed(Look(look.node, trouble="its answer is too long"))
        parts = [text[start : start + PART] for start in range(0, len(text), PART)]
        for place, part in enumerate(parts):
            message = LookPart(number, look.node, place, len(parts), part, asked, time.time() if asked else 0.0)
            self._links.send_to(node, _PART.dump_json(message))
            await asyncio.sleep(0)  # reports, which end a run, come first

    def _collect(self, sender: int, message: LookPart, turn: _Round) -> None:
        if message.node not in turn.awaited or sender not in (0, message.node):
            return
        if message.sent and message.node not in turn.ahead:  # as NTP does it
            turn.ahead[message.node] = (message.asked - turn.asked + message.sent - time.time()) / 2
        parts = turn.parts.setdefault(message.node, {})
        parts[message.part] = message.text
        if len(parts) < message.parts:
            return
        try:
            look = unpacked("".join(parts[place] for place in sorted(parts)))
        except ValueError as error:
            get_logger().warning("node {}: {}", message.node, error)
            look = Look(message.node, trouble="its answer cannot be understood")
        turn.looks[message.node] = replace(look, node=message.node)
        if turn.looks.keys() >= turn.awaited:
            turn.is_complete.set()


async def _nothing() -> list[Look]:
    return []
