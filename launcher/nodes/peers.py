"""The links between the nodes' launches during a run: one JSON object per line, over TCP.

Node 0 has a link to every other node. It does not forward reports: it acts on them, and reports its own new state.
"""

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from launcher.nodes.messages import REPORT, LookAsked, LookPart, Lost, Report, Reported
from launcher.nodes.seal import LONGEST_LINE, Forged, Seal

if TYPE_CHECKING:
    import asyncio

SEND_SECONDS = 2.0  # a peer that reads nothing can block us for this long
_KEEPALIVE = {socket.TCP_KEEPIDLE: 10, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3, socket.TCP_USER_TIMEOUT: 25_000}


_MESSAGE: TypeAdapter[Report | LookAsked | LookPart] = TypeAdapter(Report | LookAsked | LookPart)


class Links:
    """The connections of this node's launch, by node."""

    def __init__(self, sockets: Mapping[int, socket.socket], seals: Mapping[int, Seal]) -> None:
        self._sockets, self._seals = dict(sockets), dict(seals)
        self._unread = dict.fromkeys(sockets, b"")
        self._told: Report | None = None
        for each in sockets.values():
            each.settimeout(SEND_SECONDS)
            keep_alive(each)

    @property
    def nodes(self) -> frozenset[int]:
        """The nodes that this one is connected to now."""
        return frozenset(self._sockets)

    def listen(
        self,
        loop: "asyncio.AbstractEventLoop",
        emit: Callable[[Reported | Lost], None],
        hear: Callable[[int, LookAsked | LookPart], None] = lambda node, message: None,
    ) -> None:
        """Begin to read. `emit` and `hear` are called in the loop."""
        self._loop, self._emit, self._hear = loop, emit, hear
        for node, each in self._sockets.items():
            loop.add_reader(each, self._read, node)

    def tell(self, report: Report) -> None:
        """Send the report to all, unless it is the last one again."""
        if report == self._told:
            return
        self._told = report
        self.send(_dumped(report))

    def send(self, body: bytes) -> None:
        """Send a line to all. A lost node is noticed when reading, not here."""
        for node in self._sockets:
            self.send_to(node, body)

    def send_to(self, node: int, body: bytes) -> None:
        """Send a line to one node, if it is still connected."""
        if node in self._sockets:
            with suppress(OSError):
                self._sockets[node].sendall(self._seals[node].seal(body))

    def close(self) -> None:
        """Call it only after `listen`, while the loop runs."""
        for node in tuple(self._sockets):
            self._drop(node)

    def _read(self, node: int) -> None:
        try:
            block = self._sockets[node].recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(node, f"its launch cannot be reached any more: {error.strerror or error}")
            return
        if not block:
            self._lose(node, "its launch is gone")
            return
        *lines, self._unread[node] = (self._unread[node] + block).split(b"\n")
        if len(self._unread[node]) > LONGEST_LINE:
            self._lose(node, "its launch sent an invalid message")
            return
        for line in lines:
            try:
                self._take(node, _MESSAGE.validate_json(self._seals[node].open(line)))
            except ValidationError:
                self._lose(node, "its launch sent an invalid message")
                return
            except Forged:
                self._lose(node, "somebody else sent a message in its name")
                return

    def _take(self, node: int, message: Report | LookAsked | LookPart) -> None:
        if isinstance(message, Report):
            self._emit(Reported(node, message))
        else:
            self._hear(node, message)

    def _lose(self, node: int, why: str) -> None:
        self._drop(node)
        self._emit(Lost(node, why))

    def _drop(self, node: int) -> None:
        each = self._sockets.pop(node, None)
        if each is not None:
            self._loop.remove_reader(each)
            each.close()


def _dumped(report: Report) -> bytes:
    """The report as a line without its end. A failure's cause is cut if the line would be too long."""
    body = REPORT.dump_json(report)
    if len(body) > LONGEST_LINE - 100 and report.failure:
        short = replace(report.failure, cause=report.failure.cause[: LONGEST_LINE // 16], collateral=())
        body = REPORT.dump_json(replace(report, failure=short))
    return body


def keep_alive(each: socket.socket) -> None:
    """Notice within half a minute that the other machine has vanished without closing the connection."""
    each.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in _KEEPALIVE.items():
        each.setsockopt(socket.IPPROTO_TCP, option, value)
