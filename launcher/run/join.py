"""How the launches of a run's nodes find each other, before anything is started.

Node 0 listens on the port after torchrun's, and every other one connects and says who it is. When all have come, node
0 tells them what they have in common. Whoever does not fit, or does not come, ends it for all, with the reason.
"""

import platform
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version

from pydantic import TypeAdapter, ValidationError

from launcher.errors import UserError
from launcher.plan.nodes import Nodes
from launcher.plan.spec import Plan
from launcher.run.failure import Culprit
from launcher.run.links import Links, keep_alive
from launcher.run.reports import Report
from launcher.run.state import read_state
from launcher.rundir import RunDir

RETRY = 0.2  # seconds between two attempts to reach node 0
LONGEST_LINE = 1 << 20  # bytes
SHARED_WITHIN = 60.0  # seconds that a network file system may take to show what node 0 has written

Say = Callable[[str], None]


@dataclass(frozen=True)
class Hello:
    """What a node says of itself; `asks` must be the same on all."""

    node: int
    host: str
    asks: dict[str, str | int]
    inference_port: int
    name: str | None  # the run's, if it was given one here


@dataclass(frozen=True)
class Welcome:
    """What all nodes have in common, as node 0 says it."""

    name: str
    attempt: int
    run_id: str
    hosts: tuple[str, ...]
    inference_ports: tuple[int, ...]


@dataclass(frozen=True)
class Refusal:
    why: str


_HELLO = TypeAdapter(Hello)
_ANSWER: TypeAdapter[Welcome | Refusal] = TypeAdapter(Welcome | Refusal)


@dataclass
class Meeting:
    """All nodes are connected. What node 0 has said is known everywhere, on node 0 as what it is going to say."""

    nodes: Nodes
    welcome: Welcome
    _sockets: dict[int, socket.socket] = field(repr=False)

    def begin(self) -> Links:
        """Tell the others that it begins, if this is node 0."""
        if self.nodes.rank == 0:
            self._send(_ANSWER.dump_json(self.welcome))
        return Links(self._sockets)

    def check_shared(self, run: RunDir) -> None:
        """Raises UserError when this node does not see what node 0 has written to the run's directory."""
        deadline = time.monotonic() + SHARED_WITHIN
        while (state := read_state(run.on(None))) is None or state.run_id != self.welcome.run_id:
            if time.monotonic() > deadline:
                raise UserError(
                    f"{run.root} is not the directory of node 0",
                    "rollouts and weights go through files: name a directory that all nodes share with --output-dir",
                )
            time.sleep(RETRY)

    def call_off(self, why: str) -> None:
        """This node cannot take part after all."""
        if self.nodes.rank == 0:
            self._send(_ANSWER.dump_json(Refusal(f"node 0: {why}")))
        else:
            culprit = Culprit("launch", why, node=self.nodes.rank)
            Links(self._sockets).tell(Report("failed", culprit=culprit, ended=True))
        for each in self._sockets.values():
            each.close()

    def _send(self, line: bytes) -> None:
        for each in self._sockets.values():
            with suppress(OSError):
                each.sendall(line + b"\n")


def meet(plan: Plan, name: str | None, inference_port: int, timeout: float, say: Say) -> Meeting:
    """Wait until all nodes are there.

    Args:
        plan: what this node would start, as far as it knows.
        name: what the run must be called; None leaves it to node 0.
        inference_port: of the server on this node, if it has one.
        timeout: seconds.
        say: tells the person who waits.

    Raises:
        UserError: a node does not come in time, or does not fit, or there is no way to it.
    """
    assert plan.nodes is not None
    hello = Hello(plan.nodes.rank, platform.node(), _asks(plan), inference_port, name)
    if plan.nodes.rank == 0:
        return _Reception(plan, hello, timeout, say).receive()
    return _join(plan.nodes, hello, timeout, say)


def _asks(plan: Plan) -> dict[str, str | int]:
    assert plan.nodes is not None
    asks: dict[str, str | int] = {"launch": version("launch-rl"), "command": plan.kind}
    asks |= {"trainer nodes": plan.nodes.trainer, "inference nodes": plan.nodes.inference}
    ranks = [spec.ranks.count for spec in plan.processes if spec.ranks]
    return asks | ({"ranks per node": ranks[0]} if ranks else {})


# --- node 0 -----------------------------------------------------------------------------------------------------------


@dataclass
class _Guest:
    """Somebody who has connected, and may not have said yet who it is."""

    socket: socket.socket
    address: str
    unread: bytes = b""
    hello: Hello | None = None


class _Reception:
    """Takes in the other nodes."""

    def __init__(self, plan: Plan, hello: Hello, timeout: float, say: Say) -> None:
        assert plan.nodes is not None
        self.plan, self.nodes, self.own, self.timeout, self.say = plan, plan.nodes, hello, timeout, say
        self.guests: list[_Guest] = []

    def receive(self) -> Meeting:
        deadline = time.monotonic() + self.timeout
        try:
            with self._listener() as listener:
                self.say(f"node 0 waits for {self._missing()} at {self.nodes.host}:{self.nodes.control_port}")
                while len(self._known()) < self.nodes.count - 1:
                    self._take_in(listener, deadline - time.monotonic())
            return self._meeting()
        except BaseException as error:
            why = str(error) if isinstance(error, UserError) else "it has been stopped"
            for guest in self.guests:
                _refuse(guest, f"node 0: {why}")
            raise

    def _listener(self) -> socket.socket:
        port = self.nodes.control_port
        try:
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            return socket.create_server(("", port))
        except OSError as error:
            raise UserError(
                f"--rdzv-endpoint {self.nodes.host}:{self.nodes.port}: port {port}, where the nodes meet, cannot be "
                f"listened on: {error.strerror}",
                "name another port; it and the next one must be free",
            ) from None

    def _take_in(self, listener: socket.socket, seconds: float) -> None:
        ready = select.select([listener, *(guest.socket for guest in self.guests)], [], [], max(0.0, seconds))[0]
        if not ready and seconds <= 0:
            raise UserError(
                f"not there within {self.timeout:g}s: {self._missing()} of {self.nodes.count}",
                f"was launch typed there, with --node-rank, and is {self.nodes.host}:{self.nodes.control_port} to be "
                "reached from there? --join-timeout says how long to wait",
            )
        if listener in ready:
            connection, address = listener.accept()
            keep_alive(connection)
            self.guests.append(_Guest(connection, str(address[0]).removeprefix("::ffff:")))
        for guest in [guest for guest in self.guests if guest.socket in ready]:
            self._listen_to(guest)

    def _listen_to(self, guest: _Guest) -> None:
        try:
            block = guest.socket.recv(1 << 16)
        except OSError:
            block = b""
        guest.unread += block
        if not block or len(guest.unread) > LONGEST_LINE:
            self.guests.remove(guest)
            guest.socket.close()
            if guest.hello:
                self.say(f"node {guest.hello.node} ({guest.hello.host}) has left")
        elif guest.unread.endswith(b"\n"):
            self._meet(guest)

    def _meet(self, guest: _Guest) -> None:
        try:
            hello = _HELLO.validate_json(guest.unread)
        except ValidationError:
            why: str | None = "this is the port where nodes of a launch run meet"
        else:
            why = self._objection(hello)
            guest.hello = None if why else hello
        if why:
            self.guests.remove(guest)
            _refuse(guest, why)
            return
        assert guest.hello
        self.say(f"node {guest.hello.node} ({guest.hello.host}) is there")

    def _objection(self, hello: Hello) -> str | None:
        """What makes it impossible that this is a node of the run."""
        for what, own in self.own.asks.items():
            if what in hello.asks and hello.asks[what] != own:
                return f"{what}: {hello.asks[what]} on node {hello.node}, {own} on node 0"
        if hello.name not in (None, self.plan.name):
            return f"--name {hello.name}: on node 0 the run is called {self.plan.name}"
        if not 0 < hello.node < self.nodes.count:
            return f"--node-rank {hello.node}: there are {self.nodes.count} nodes"
        taken = next((known for _, known in self._known() if known.node == hello.node), None)
        return f"--node-rank {hello.node}: {taken.host} is node {hello.node} already" if taken else None

    def _known(self) -> list[tuple[_Guest, Hello]]:
        """Those who have said who they are, by their rank."""
        known = [(guest, guest.hello) for guest in self.guests if guest.hello]
        return sorted(known, key=lambda one: one[1].node)

    def _missing(self) -> str:
        there = {hello.node for _, hello in self._known()}
        missing = [str(node) for node in range(1, self.nodes.count) if node not in there]
        return f"node{'s' if len(missing) > 1 else ''} {', '.join(missing)}"

    def _meeting(self) -> Meeting:
        for guest in self.guests:
            if guest.hello is None:
                guest.socket.close()
        known = self._known()
        hosts = (self.nodes.host, *(guest.address for guest, _ in known))
        ports = (self.own.inference_port, *(hello.inference_port for _, hello in known))
        welcome = Welcome(self.plan.name, self.plan.run.attempt, self.plan.run_id, hosts, ports)
        return Meeting(_with(self.nodes, welcome), welcome, {hello.node: guest.socket for guest, hello in known})


def _refuse(guest: _Guest, why: str) -> None:
    with suppress(OSError):
        guest.socket.sendall(_ANSWER.dump_json(Refusal(why)) + b"\n")
    guest.socket.close()


# --- every other node -------------------------------------------------------------------------------------------------


def _join(nodes: Nodes, hello: Hello, timeout: float, say: Say) -> Meeting:
    where = f"{nodes.host}:{nodes.control_port}"
    say(f"node {nodes.rank} waits for node 0 at {where}")
    connection = _connect(nodes, timeout)
    keep_alive(connection)
    try:
        connection.sendall(_HELLO.dump_json(hello) + b"\n")
        say("node 0 is there, it waits for the others" if nodes.count > 2 else "node 0 is there")
        connection.settimeout(None)  # node 0 gives up for all of us
        with connection.makefile("rb", buffering=0) as answers:
            line = answers.readline(LONGEST_LINE)
        answer = _ANSWER.validate_json(line)
    except (OSError, ValidationError):
        connection.close()
        raise UserError(f"node 0 at {where} has gone before the run began", "see what it says there") from None
    if isinstance(answer, Refusal):
        connection.close()
        raise UserError(answer.why)
    return Meeting(_with(nodes, answer), answer, {0: connection})


def _connect(nodes: Nodes, timeout: float) -> socket.socket:
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            return socket.create_connection((nodes.host, nodes.control_port), timeout=max(RETRY, left))
        except OSError as error:
            if time.monotonic() + RETRY > deadline:
                raise UserError(
                    f"node 0 was not there within {timeout:g}s: {nodes.host}:{nodes.control_port}: "
                    f"{error.strerror or error}",
                    "was launch typed there, with --node-rank 0? --join-timeout says how long to wait",
                ) from None
        time.sleep(RETRY)  # nothing announces that it listens now


def _with(nodes: Nodes, welcome: Welcome) -> Nodes:
    return replace(nodes, hosts=welcome.hosts, inference_ports=welcome.inference_ports)
