"""How a node other than node 0 joins the run."""

import secrets
import socket
import time
from dataclasses import replace

from pydantic import ValidationError

from launcher.errors import NotNow, UserError
from launcher.nodes.meeting import (
    ANSWER,
    CHALLENGE,
    HELLO,
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
    read_line,
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
            self.say("connected to node 0" + (", which waits for the others" if self.nodes.launches > 2 else ""))
            connection.settimeout(None)  # node 0 has the timeout for all nodes
            welcome = self._answer(connection, seal)
        except UserError:
            connection.close()
            raise
        except (OSError, ValidationError):
            connection.close()
            raise NotNow(f"node 0 at {self.where} ended before the run began", "see its output for why") from None
        return Meeting(with_welcome(self.nodes, welcome), welcome, {0: connection}, {0: seal}, key)

    def _connect(self) -> tuple[socket.socket, Challenge]:
        """A connection, and node 0's challenge, which it sends to everybody who connects."""
        deadline, last = time.monotonic() + self.timeout, ""
        while time.monotonic() < deadline:
            try:
                connection = socket.create_connection(
                    (self.nodes.host, self.nodes.control_port),
                    timeout=min(max(RETRY, deadline - time.monotonic()), LONGEST_POLL),
                )
                try:
                    return connection, CHALLENGE.validate_json(read_line(connection))
                except (OSError, ValidationError):
                    connection.close()
                    last = "another program listens there, or node 0 has too many connections"
            except OSError as error:
                last = str(error.strerror or error)
            time.sleep(RETRY)  # nothing tells us when node 0 begins to listen
        raise NotNow(
            f"node 0 did not answer within {self.timeout:g}s: {self.where}: {last}",
            "was launch started there with --node-rank 0? --join-timeout sets how long to wait",
        )

    def _known_secret(self, challenge: Challenge) -> bytes | None:
        """Node 0's secret. Raises UserError if this node has another one or none, or if only node 0 has none."""
        if challenge.secret is None:
            if self.secret.key:
                raise UserError(f"node 0 at {self.where} has no secret, but this node has one", SAME_SECRET)
            if self.secret.shared:  # node 0 writes one there, so this is not node 0, or node 0 cannot write
                none = f"and has written none to {self.secret.shared.parent}, which all nodes share"
                raise NotNow(f"node 0 at {self.where} has no secret, {none}", SAME_SECRET)
            return None
        deadline, secret = time.monotonic() + SHARED_WITHIN, self.secret
        while fingerprint(secret.key) != challenge.secret:
            secret = self.secret.read_shared()
            if self.secret.key or self.secret.shared is None or time.monotonic() > deadline:
                if self.secret.key:
                    raise UserError(f"node 0 at {self.where} has another secret", SAME_SECRET)
                raise NotNow(f"node 0 at {self.where} has a secret, but this node has none", SAME_SECRET)
            if fingerprint(secret.key) != challenge.secret:
                time.sleep(RETRY)
        return secret.key

    def _answer(self, connection: socket.socket, seal: Seal) -> Welcome:
        """Node 0's answer. Raises UserError when it refuses, or is not node 0 of this run.

        A refusal needs no seal: whoever sent it, there is no run to join.
        """
        line = read_line(connection)
        try:
            answer = ANSWER.validate_json(seal.open(line))
        except Forged:
            answer = ANSWER.validate_json(line.partition(b" ")[2])
            if isinstance(answer, Welcome):
                raise UserError(f"the program at {self.where} does not know the run's secret", SAME_SECRET) from None
        if isinstance(answer, Refusal):
            raise (NotNow if answer.later else UserError)(answer.why)
        if not len(answer.hosts) == len(answer.inference_ports) == self.nodes.launches:
            raise UserError(
                f"node 0 at {self.where} expects {len(answer.hosts)} nodes, this node {self.nodes.launches}"
            )
        return answer
