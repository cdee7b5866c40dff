"""How two launches authenticate each other's lines: a message authentication code, which also stops replays.

The code is HMAC-SHA256 (RFC 2104) over the direction, the line's number and the line. Both sides derive the key from
the run's secret and their two nonces. Without a secret, lines have no code, and anybody could have sent them.
"""

import hashlib
import hmac

LONGEST_LINE = 1 << 16  # bytes
NOTHING = b"-"  # in place of a code, where there is no secret


class Forged(Exception):
    """The other side has not sent this line, or has sent it earlier."""


def key_of_session(secret: bytes, nonces: tuple[str, str]) -> bytes:
    """The key of one connection. `nonces` are node 0's and the other node's, in this order."""
    return hmac.digest(secret, f"session {nonces[0]} {nonces[1]}".encode(), hashlib.sha256)


def fingerprint(secret: bytes | None) -> str | None:
    """Shows two sides whether they have the same secret, before they use it."""
    return hmac.new(secret, b"fingerprint", hashlib.sha256).hexdigest()[:16] if secret else None


def inference_token(secret: bytes, run_id: str) -> str:
    """The token by which a run's orchestrator authenticates to inference servers on other nodes."""
    return hmac.new(secret, f"inference {run_id}".encode(), hashlib.sha256).hexdigest()


class Seal:
    """Seals the lines that one side sends, and opens the lines that it receives. `key` is None without a secret."""

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
        """The content of a received line. Raises Forged."""
        code, _, body = line.partition(b" ")
        if not hmac.compare_digest(code, self._code(self._directions[1], self._opened, body)):
            raise Forged
        self._opened += 1
        return body

    def _code(self, direction: bytes, number: int, body: bytes) -> bytes:
        if self._key is None:
            return NOTHING
        return hmac.new(self._key, b"%s %d %s" % (direction, number, body), hashlib.sha256).hexdigest().encode()
