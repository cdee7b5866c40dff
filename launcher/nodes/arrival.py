"""A node joins node 0."""

import secrets
import socket
import time
from dataclasses import replace

from pydantic import ValidationError

from launcher.errors import UserError
from launcher.nodes.meeting import (
    ANSWER,
    CHALLENGE,
    HELLO,
    LONGEST_LINE,
    LONGEST_POLL,
    RETRY,
    SAME_SECRET,
    SHARED_WITHIN,
    Challenge,
    Hello,
    Meeting,
    Refusal,
    Say,
    Welcome,
    with_welcome,
)
from launcher.nodes.peers import keep_alive
from launcher.nodes.seal import Forged, Seal, fingerprint, key_of_session
from launcher.nodes.secret import JoinSecret
from launcher.plan.nodes import Nodes


class Arrival:
    """Joins node 0."""

    def __init__(self, nodes: Nodes, hello: Hello, secret: JoinSecret, timeout: float, say: Say) -> None:
        self.nodes, self.hello, self.secret, self.timeout, self.say = nodes, hello, secret, timeout, say
        self.where = f"{nodes.host}:{nodes.control_port}"

    def join(self) -> Meeting:
        self.say(f"node {self.nodes.rank} waits for node 0 at {self.where}")
        connection, challenge = self._connect()
        keep_alive(connection)
        try:
            key = self._known_secret(challenge)
            hello = replace(self.hello, nonce=secrets.token_hex(16))
            seal = Seal(key_of_session(key, (challenge.nonce, hello.nonce)) if key else None, is_node_0=False)
            connection.sendall(seal.seal(HELLO.dump_json(hello)))
            self.say("node 0 is there" + (", it waits for the others" if self.nodes.count > 2 else ""))
            connection.settimeout(None)  # node 0 gives up for all of us
            welcome = self._answer(connection, seal)
        except UserError:
            connection.close()
            raise
        except (OSError, ValidationError):
            connection.close()
            raise UserError(f"node 0 at {self.where} has gone before the run began", "see what it says there") from None
        return Meeting(with_welcome(self.nodes, welcome), welcome, {0: connection}, {0: seal}, key)

    def _connect(self) -> tuple[socket.socket, Challenge]:
        """A connection, and what node 0 says to everybody."""
        deadline, last = time.monotonic() + self.timeout, ""
        while time.monotonic() < deadline:
            try:
                connection = socket.create_connection(
                    (self.nodes.host, self.nodes.control_port),
                    timeout=min(max(RETRY, deadline - time.monotonic()), LONGEST_POLL),
                )
                try:
                    return connection, CHALLENGE.validate_json(_line(connection))
                except (OSError, ValidationError):
                    connection.close()
                    last = "what listens there is not the launch of node 0, or has no room yet"
            except OSError as error:
                last = str(error.strerror or error)
            time.sleep(RETRY)  # nothing announces that it listens now
        raise UserError(
            f"node 0 was not there within {self.timeout:g}s: {self.where}: {last}",
            "was launch typed there, with --node-rank 0? --join-timeout says how long to wait",
        )

    def _known_secret(self, challenge: Challenge) -> bytes | None:
        """The secret that node 0 has. Raises UserError when it is not known here, or when node 0 has none."""
        if challenge.secret is None:
            if self.secret.key:
                raise UserError(f"node 0 at {self.where} has no secret, this node has one", SAME_SECRET)
            if self.secret.shared:  # node 0 of this run leaves one there, so this is not node 0, or it cannot write
                left = f"and leaves none in {self.secret.shared.parent}, which all nodes share"
                raise UserError(f"node 0 at {self.where} has no secret, {left}", SAME_SECRET)
            return None
        deadline, secret = time.monotonic() + SHARED_WITHIN, self.secret
        while fingerprint(secret.key) != challenge.secret:
            secret = self.secret.read_shared()
            if self.secret.key or self.secret.shared is None or time.monotonic() > deadline:
                has = "another secret" if self.secret.key else "a secret, this node knows none"
                raise UserError(f"node 0 at {self.where} has {has}", SAME_SECRET)
            if fingerprint(secret.key) != challenge.secret:
                time.sleep(RETRY)
        return secret.key

    def _answer(self, connection: socket.socket, seal: Seal) -> Welcome:
        """What node 0 answers. Raises UserError when it refuses, or is not node 0 of this run.

        A refusal is believed without a seal: whoever sent it, there is no run to join.
        """
        line = _line(connection)
        try:
            answer = ANSWER.validate_json(seal.open(line))
        except Forged:
            answer = ANSWER.validate_json(line.partition(b" ")[2])
            if isinstance(answer, Welcome):
                raise UserError(f"what answers at {self.where} does not know the run's secret", SAME_SECRET) from None
        if isinstance(answer, Refusal):
            raise UserError(answer.why)
        if not len(answer.hosts) == len(answer.inference_ports) == self.nodes.count:
            raise UserError(f"node 0 at {self.where} counts {len(answer.hosts)} nodes, this node {self.nodes.count}")
        return answer


def _line(connection: socket.socket) -> bytes:
    """The next line, without its end, and nothing of what comes after it. Raises OSError when there is none."""
    line = b""
    while not line.endswith(b"\n"):
        there = connection.recv(LONGEST_LINE - len(line), socket.MSG_PEEK)
        if not there:  # closed, or the line is too long
            raise OSError("closed")
        line += connection.recv(there.find(b"\n") + 1 or len(there))
    return line[:-1]
