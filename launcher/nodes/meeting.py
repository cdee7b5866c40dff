"""The messages between the nodes' launches before anything is started, and the meeting of all nodes."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter

from launcher.borders.values import Attempt, Count, Host, Identity, Name, Phrase, Port
from launcher.failure.failure import Culprit
from launcher.nodes.channel import Channel
from launcher.nodes.messages import Report
from launcher.nodes.peers import Links
from launcher.nodes.seal import LONGEST_LINE, Seal
from launcher.plan.nodes import Nodes

RETRY = 0.2  # seconds between two attempts
LONGEST_POLL = 86_400.0  # seconds; poll() takes 24 days
LINGER = 1.0  # seconds
SHARED_WITHIN = 60.0  # seconds that a network file system may take to show a file of node 0
SAME_SECRET = "give all nodes the same --join-secret-file"

Say = Callable[[str], None]
"""Shows a line to the person who waits."""


@dataclass(frozen=True)
class Challenge:
    """Node 0's first message to everybody who connects."""

    nonce: Identity
    secret: Identity | None  # the fingerprint of its secret, if it has one


@dataclass(frozen=True)
class Hello:
    """A node's message about itself. `asks` must be the same on all nodes."""

    node: Count
    host: Host
    asks: dict[Phrase, Phrase | int]
    inference_port: Port
    name: Name | None  # the run's, if it was given on this node
    nonce: Identity = ""


@dataclass(frozen=True)
class Welcome:
    """Node 0's message when all nodes have joined: the values that are the same on all."""

    name: Name
    attempt: Attempt
    run_id: Identity
    hosts: tuple[Host, ...]
    inference_ports: tuple[Port, ...]


@dataclass(frozen=True)
class Refusal:
    why: Phrase
    later: bool = False  # node 0 has ended, and its own exit code says whether another attempt can help


CHALLENGE = TypeAdapter(Challenge)
HELLO = TypeAdapter(Hello)
ANSWER: TypeAdapter[Welcome | Refusal] = TypeAdapter(Welcome | Refusal)


@dataclass
class Meeting:
    """All nodes are connected, and each has the welcome. Node 0 sends it in `begin`."""

    nodes: Nodes
    welcome: Welcome
    _sockets: dict[int, socket.socket] = field(repr=False)
    _seals: dict[int, Seal] = field(repr=False)
    secret: bytes | None = field(repr=False)

    def begin(self) -> Links:
        """Start the run: node 0 sends the welcome to the others."""
        links = Links(self._sockets, self._seals)
        if self.nodes.rank == 0:
            links.send(ANSWER.dump_json(self.welcome))
        return links

    def channels(self) -> dict[int, Channel]:
        """Begin to talk without a run."""
        self.begin()
        return {node: Channel(each, self._seals[node]) for node, each in self._sockets.items()}

    def hear_node_0(self) -> bytes:
        """Wait for node 0's next line. Raises OSError and Forged."""
        return self._seals[0].open(read_line(self._sockets[0]))

    def joined_late(self, nodes: Nodes, attempt: int) -> "Meeting":
        """The same connection, for a spare that takes part from this attempt on."""
        return replace(self, nodes=nodes, welcome=replace(self.welcome, attempt=attempt))

    def call_off(self, why: str) -> None:
        """This node cannot take part: tell the others why."""
        links = Links(self._sockets, self._seals)
        if self.nodes.rank == 0:
            links.send(ANSWER.dump_json(Refusal(f"node 0: {why}", later=True)))
        else:
            culprit = Culprit("launch", why.replace("\n ", ";"), node=self.nodes.rank)
            links.tell(Report("failed", culprit=culprit, ended=True))
        for each in self._sockets.values():
            _close(each)


def _close(connection: socket.socket) -> None:
    """Close the connection after the other side has had time to read. Closing with unread bytes resets it at once."""
    deadline = time.monotonic() + LINGER
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(1 << 16):
                break
    connection.close()


def read_line(connection: socket.socket) -> bytes:
    """Read one line and nothing after it; return it without its end. Raises OSError when there is none."""
    line = b""
    while not line.endswith(b"\n"):
        there = connection.recv(LONGEST_LINE - len(line), socket.MSG_PEEK)
        if not there:  # closed, or the line is too long
            raise OSError("closed")
        line += connection.recv(there.find(b"\n") + 1 or len(there))
    return line[:-1]


def with_welcome(nodes: Nodes, welcome: Welcome) -> Nodes:
    """The nodes with their hosts and ports, which are known when all have joined."""
    return replace(nodes, hosts=welcome.hosts, inference_ports=welcome.inference_ports)
