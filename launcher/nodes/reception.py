"""Node 0 accepts the other nodes, on a port to which anybody can connect."""

import errno
import ipaddress
import secrets
import selectors
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field

from pydantic import ValidationError

from launcher.errors import NotNow, UserError
from launcher.nodes.meeting import (
    ANSWER,
    CHALLENGE,
    HELLO,
    LONGEST_POLL,
    SAME_SECRET,
    Challenge,
    Hello,
    Meeting,
    Refusal,
    Say,
    Welcome,
    with_welcome,
)
from launcher.nodes.peers import keep_alive
from launcher.nodes.seal import LONGEST_LINE, Forged, Seal, fingerprint, key_of_session
from launcher.plan.spec import Plan

MOST_UNKNOWN = 64  # connections that have not sent a hello yet
HELLO_SECONDS = 10.0  # to send it
SETTLED = 1.0  # seconds; after that, a connection without a hello is dropped if another one needs its place
NO_SECRET = "no secret: anybody who reaches this port can join or end the run; use --join-secret-file FILE on all nodes"


@dataclass(eq=False)
class _Guest:
    """A connection. `hello` is None until the other side has sent it."""

    socket: socket.socket
    address: str
    since: float  # monotonic seconds
    nonce: str
    unread: bytes = b""
    seal: Seal = field(default_factory=lambda: Seal(None, is_node_0=True))
    hello: Hello | None = None


class Reception:
    """Accepts the other nodes."""

    def __init__(self, plan: Plan, hello: Hello, secret: bytes | None, timeout: float, say: Say) -> None:
        assert plan.nodes is not None
        self.plan, self.nodes, self.own, self.timeout, self.say = plan, plan.nodes, hello, timeout, say
        self.secret = secret
        self.guests: list[_Guest] = []
        self.selector = selectors.DefaultSelector()

    def receive(self) -> Meeting:
        self.deadline = time.monotonic() + self.timeout
        try:
            with self.selector, self._listener() as listener:
                self.selector.register(listener, selectors.EVENT_READ)
                self.say(f"node 0 waits for {self._missing()} at {self.nodes.host}:{self.nodes.control_port}")
                if self.secret is None and not _is_loopback(listener.getsockname()[0]):
                    self.say(NO_SECRET)
                while len(self._known()) < self.nodes.launches - 1:
                    self._take_in(listener)
            return self._meeting()
        except BaseException as error:
            why = str(error) if isinstance(error, UserError) else "it was stopped"
            for guest in self.guests:
                _refuse(guest, f"node 0: {why}", later=True)
            raise

    def _listener(self) -> socket.socket:
        """Listens on the rendezvous endpoint's address alone, if this machine has that address."""
        port = self.nodes.control_port
        try:
            return _listening_at(self.nodes.host, port)
        except OSError as error:
            raise UserError(
                f"--rdzv-endpoint {self.nodes.host}:{self.nodes.port}: cannot listen on port {port}, where the nodes "
                f"meet: {error.strerror}",
                "choose another port; that port and the next one must be free",
            ) from None

    def _take_in(self, listener: socket.socket) -> None:
        now = time.monotonic()
        if now >= self.deadline:
            raise NotNow(
                f"did not join within {self.timeout:g}s: {self._missing()} of {self.nodes.launches}",
                "was launch started there with --node-rank, and can that node reach "
                f"{self.nodes.host}:{self.nodes.control_port}? --join-timeout sets how long to wait",
            )
        unknown = [guest for guest in self.guests if guest.hello is None]
        for guest in unknown:
            if now - guest.since > HELLO_SECONDS or (len(unknown) >= MOST_UNKNOWN and now - guest.since > SETTLED):
                self._drop(guest)
        soon = min([self.deadline, *(guest.since + SETTLED for guest in unknown)])
        ready = {key.fileobj for key, _ in self.selector.select(min(max(0.05, soon - now), LONGEST_POLL))}
        for guest in [guest for guest in self.guests if guest.socket in ready]:
            self._listen_to(guest)
        if listener in ready:
            self._accept(listener)

    def _accept(self, listener: socket.socket) -> None:
        connection, address = listener.accept()
        if sum(guest.hello is None for guest in self.guests) >= MOST_UNKNOWN:
            connection.close()  # a node of the run will try again
            return
        keep_alive(connection)
        guest = _Guest(connection, str(address[0]).removeprefix("::ffff:"), time.monotonic(), secrets.token_hex(16))
        self.guests.append(guest)
        self.selector.register(connection, selectors.EVENT_READ)
        with suppress(OSError):
            connection.sendall(CHALLENGE.dump_json(Challenge(guest.nonce, fingerprint(self.secret))) + b"\n")

    def _drop(self, guest: _Guest) -> None:
        self.guests.remove(guest)
        self.selector.unregister(guest.socket)
        guest.socket.close()

    def _listen_to(self, guest: _Guest) -> None:
        try:
            block = guest.socket.recv(1 << 16)
        except OSError:
            block = b""
        guest.unread += block
        if not block or len(guest.unread) > LONGEST_LINE or guest.hello:
            self._drop(guest)
            if guest.hello:
                self.say(f"node {guest.hello.node} ({guest.hello.host}) has left")
        elif guest.unread.endswith(b"\n"):
            self._meet(guest)

    def _meet(self, guest: _Guest) -> None:
        try:
            hello = self._believed(guest)
            why = self._objection(hello)
        except ValidationError:
            why = "this is the port where nodes of a launch run meet"
        except Forged:
            why = "this node has not shown that it knows the run's secret: " + SAME_SECRET
        if why:
            self.guests.remove(guest)
            self.selector.unregister(guest.socket)
            _refuse(guest, why)
            return
        guest.hello = hello
        spare = " as a spare" if hello.node >= self.nodes.count else ""
        self.say(f"node {hello.node} ({hello.host}) has joined{spare}")

    def _believed(self, guest: _Guest) -> Hello:
        """The guest's hello. Raises ValidationError, and Forged if the guest does not know the secret."""
        line = guest.unread.rstrip(b"\n")
        hello = HELLO.validate_json(line.partition(b" ")[2])
        key = key_of_session(self.secret, (guest.nonce, hello.nonce)) if self.secret else None
        seal = Seal(key, is_node_0=True)
        seal.open(line)
        guest.seal = seal
        return hello

    def _objection(self, hello: Hello) -> str | None:
        """Why this cannot be a node of the run; None if it can."""
        expected = dict(self.own.asks)
        if self.nodes.place_planned_by(hello.node) >= self.nodes.trainer:  # a node of inference has no ranks
            expected.pop("ranks per node", None)
        for what in sorted(expected.keys() | hello.asks.keys()):
            there, here = (asks.get(what, "nothing") for asks in (hello.asks, expected))
            if there != here:
                return f"{what}: {there} on node {hello.node}, {here} on node 0"
        if hello.name not in (None, self.plan.name):
            return f"--name {hello.name}: on node 0 the run is called {self.plan.name}"
        if not 0 < hello.node < self.nodes.launches:
            return f"--node-rank {hello.node}: there are {self.nodes.launches} nodes"
        taken = next((known for _, known in self._known() if known.node == hello.node), None)
        return f"--node-rank {hello.node}: {taken.host} is node {hello.node} already" if taken else None

    def _known(self) -> list[tuple[_Guest, Hello]]:
        """The guests that have sent a hello, sorted by rank."""
        known = [(guest, guest.hello) for guest in self.guests if guest.hello]
        return sorted(known, key=lambda one: one[1].node)

    def _missing(self) -> str:
        there = {hello.node for _, hello in self._known()}
        missing = [str(node) for node in range(1, self.nodes.launches) if node not in there]
        return f"node{'s' if len(missing) > 1 else ''} {', '.join(missing)}"

    def _meeting(self) -> Meeting:
        for guest in self.guests:
            if guest.hello is None:
                guest.socket.close()
        known = self._known()
        hosts = (self.nodes.host, *(guest.address for guest, _ in known))
        ports = (self.own.inference_port, *(hello.inference_port for _, hello in known))
        welcome = Welcome(self.plan.name, self.plan.run.attempt, self.plan.run_id, hosts, ports)
        sockets = {hello.node: guest.socket for guest, hello in known}
        seals = {hello.node: guest.seal for guest, hello in known}
        return Meeting(with_welcome(self.nodes, welcome), welcome, sockets, seals, self.secret)


def _listening_at(host: str, port: int) -> socket.socket:
    """A socket that listens on the address of `host`, or on every interface if others cannot reach us at that address.

    For example, Debian resolves a machine's own name to 127.0.1.1, `host` may be a proxy on another machine, and the
    name of a pod is not known in its first seconds.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if not _is_loopback(str(address[0])) or _is_loopback(host):
            return socket.create_server(address[:2], family=family)
    except socket.gaierror:
        pass
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse(guest: _Guest, why: str, later: bool = False) -> None:
    with suppress(OSError):
        guest.socket.sendall(guest.seal.seal(ANSWER.dump_json(Refusal(why, later))))
    guest.socket.close()
