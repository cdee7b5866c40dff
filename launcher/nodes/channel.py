"""One question and one answer at a time, over the connection of two launches that have met."""

import json
import socket
import time
from contextlib import suppress
from typing import Any

from launcher.nodes.seal import LONGEST_LINE, Forged, Seal

GONE = "its launch is gone"


class Channel:
    """JSON objects, one a line, each sealed like the reports of a run."""

    def __init__(self, connection: socket.socket, seal: Seal) -> None:
        self._connection, self._seal, self._unread = connection, seal, b""

    def send(self, message: dict[str, Any]) -> None:
        """Raises OSError."""
        try:
            self._connection.sendall(self._seal.seal(json.dumps(message).encode()))
        except ConnectionError:
            raise OSError(GONE) from None

    def receive(self, seconds: float | None) -> dict[str, Any]:
        """The next message. Raises OSError when there is none in time, or none that the other side has sent."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._unread:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise OSError(f"no answer within {seconds:g}s")
            self._connection.settimeout(left)
            try:
                block = self._connection.recv(1 << 16)
            except TimeoutError:
                raise OSError(f"no answer within {seconds:g}s") from None
            except ConnectionError:
                block = b""
            self._unread += block
            if not block or len(self._unread) > LONGEST_LINE:
                raise OSError(GONE)
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            message = json.loads(self._seal.open(line))
        except (Forged, ValueError, RecursionError):
            raise OSError("an invalid message came") from None
        if not isinstance(message, dict):
            raise OSError("an invalid message came")
        return message

    def close(self) -> None:
        """Also ends a `receive` in another thread."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
