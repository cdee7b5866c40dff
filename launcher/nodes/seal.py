"""How two launches know that a line comes from the other one: a message authentication code, and no line twice.

HMAC-SHA256 (RFC 2104) with a key that both derive from the run's secret and a nonce of each side, over the direction,
the number of the line, and the line. Without a secret lines are sent as they are, and anybody could have sent them.
"""

import hashlib
import hmac

NOTHING = b"-"  # in place of a code, where there is no secret


class Forged(Exception):
    """A line that the other side has not sent, or not now."""


def key_of_session(secret: bytes, nonces: tuple[str, str]) -> bytes:
    """The key of one connection; `nonces` are those of node 0 and of the other node."""
    return hmac.digest(secret, f"session {nonces[0]} {nonces[1]}".encode(), hashlib.sha256)


def fingerprint(secret: bytes | None) -> str | None:
    """By which two sides see whether they have the same secret, before they use it."""
    return hmac.new(secret, b"fingerprint", hashlib.sha256).hexdigest()[:16] if secret else None


def inference_token(secret: bytes, run_id: str) -> str:
    """By which the inference servers of a run on several nodes know its orchestrator."""
    return hmac.new(secret, f"inference {run_id}".encode(), hashlib.sha256).hexdigest()


class Seal:
    """Seals the lines of one side of a connection, and opens those of the other. `key` is None without a secret."""

    def __init__(self, key: bytes | None, is_node_0: bool) -> None:
        self._key, self._directions = (
            key,
            (b"from node 0", b"to node 0") if is_node_0 else (b"to node 0", b"from node 0"),
        )
        self._sealed = self._opened = 0

    def seal(self, body: bytes) -> bytes:
        """The line to send, with its end."""
        line = self._code(self._directions[0], self._sealed, body) + b" " + body + b"\n"
        self._sealed += 1
        return line

    def open(self, line: bytes) -> bytes:
        """What a line that has come says. Raises Forged."""
        code, _, body = line.partition(b" ")
        if not hmac.compare_digest(code, self._code(self._directions[1], self._opened, body)):
            raise Forged
        self._opened += 1
        return body

    def _code(self, direction: bytes, number: int, body: bytes) -> bytes:
        if self._key is None:
            return NOTHING
        return hmac.new(self._key, b"%s %d %s" % (direction, number, body), hashlib.sha256).hexdigest().encode()
