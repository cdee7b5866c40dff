"""What the launches of a run's nodes say to each other before anything is started, and have when all are there."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import Field, TypeAdapter

from launcher.borders.values import Count, Host, Identity, Name, Phrase, Port
from launcher.failure.failure import Culprit
from launcher.nodes.messages import Report
from launcher.nodes.peers import Links
from launcher.nodes.seal import Seal
from launcher.plan.nodes import Nodes

RETRY = 0.2  # seconds between two attempts
LONGEST_LINE = 1 << 16  # bytes
LONGEST_POLL = 86_400.0  # seconds; poll() takes 24 days
LINGER = 1.0  # seconds
SHARED_WITHIN = 60.0  # seconds that a network file system may take to show what node 0 has written
SAME_SECRET = "give all nodes the same --join-secret-file"

Say = Callable[[str], None]
"""Tells the person who waits."""


@dataclass(frozen=True)
class Challenge:
    """What node 0 says to everybody."""

    nonce: Identity
    secret: Identity | None  # the fingerprint of its secret, if it has one


@dataclass(frozen=True)
class Hello:
    """What a node says of itself; `asks` must be the same on all."""

    node: Count
    host: Host
    asks: dict[Phrase, Phrase | int]
    inference_port: Port
    name: Name | None  # the run's, if it was given one here
    nonce: Identity = ""


@dataclass(frozen=True)
class Welcome:
    """What all nodes have in common, as node 0 says it."""

    name: Name
    attempt: Annotated[Count, Field(ge=1)]
    run_id: Identity
    hosts: tuple[Host, ...]
    inference_ports: tuple[Port, ...]


@dataclass(frozen=True)
class Refusal:
    why: Phrase


CHALLENGE = TypeAdapter(Challenge)
HELLO = TypeAdapter(Hello)
ANSWER: TypeAdapter[Welcome | Refusal] = TypeAdapter(Welcome | Refusal)


@dataclass
class Meeting:
    """All nodes are connected. What node 0 has said is known everywhere, on node 0 as what it is going to say."""

    nodes: Nodes
    welcome: Welcome
    _sockets: dict[int, socket.socket] = field(repr=False)
    _seals: dict[int, Seal] = field(repr=False)
    secret: bytes | None = field(repr=False)

    def begin(self) -> Links:
        """Tell the others that it begins, if this is node 0."""
        if self.nodes.rank == 0:
            self._send(ANSWER.dump_json(self.welcome))
        return Links(self._sockets, self._seals)

    def call_off(self, why: str) -> None:
        """This node cannot take part after all."""
        if self.nodes.rank == 0:
            self._send(ANSWER.dump_json(Refusal(f"node 0: {why}")))
        else:
            culprit = Culprit("launch", why.replace("\n ", ";"), node=self.nodes.rank)
            Links(self._sockets, self._seals).tell(Report("failed", culprit=culprit, ended=True))
        for each in self._sockets.values():
            _close(each)

    def _send(self, body: bytes) -> None:
        for node, each in self._sockets.items():
            with suppress(OSError):
                each.sendall(self._seals[node].seal(body))


def _close(connection: socket.socket) -> None:
    """Close it once the other side has had time to read: with something unread here, it would be reset at once."""
    deadline = time.monotonic() + LINGER
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(1 << 16):
                break
    connection.close()


def with_welcome(nodes: Nodes, welcome: Welcome) -> Nodes:
    """The nodes, with what is only known once all have joined."""
    return replace(nodes, hosts=welcome.hosts, inference_ports=welcome.inference_ports)
