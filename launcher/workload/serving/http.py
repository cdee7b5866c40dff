"""What a stranger's connection may take of the server: time for its header and its body, room for its body.

And who may change the weights: a client that knows the run's token, and no web page that a browser on this host shows.
"""

import asyncio
import hmac
import ipaddress
import platform
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from launcher.workload.serving.protocol import RequestError

HEADER_SECONDS = 10.0
BODY_SECONDS = 30.0
LARGEST_BODY = 8 << 20  # bytes

T = TypeVar("T")


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP, but for a connection that takes too long to say what it wants: it is closed."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_header()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server is being ended: a request whose body has not come is not waited for."""
        if self.cycle is not None and self.cycle.more_body:
            self.transport.close()
        super().shutdown()

    def _expect_header(self) -> None:
        """Wait for a header, unless a request is being served; between two requests uvicorn has its own timer."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


async def read_body(http: Request) -> bytes:
    """The body of a request. Raises RequestError when it is too large or too slow, ClientDisconnect."""
    body = bytearray()
    if http.headers.get("content-length", "").isdecimal() and int(http.headers["content-length"]) > LARGEST_BODY:
        raise _too_large()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in http.stream():
                body += part
                if len(body) > LARGEST_BODY:
                    raise _too_large()
    except TimeoutError:
        raise RequestError(f"the body has not come within {BODY_SECONDS:g} s", 408) from None
    return bytes(body)


def _too_large() -> RequestError:
    return RequestError(f"the body is larger than {LARGEST_BODY >> 20} MB", 413)


async def while_connected(http: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; it is cancelled when the client leaves. Raises ClientDisconnect then."""
    this, is_working = asyncio.current_task(), True
    assert this is not None

    def leave(leaving: "asyncio.Task[None]") -> None:
        if is_working and not leaving.cancelled():
            this.cancel()

    leaving = asyncio.create_task(_left(http))
    leaving.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if leaving.done():
            this.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        is_working = False
        leaving.cancel()


async def _left(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


@dataclass(frozen=True)
class Access:
    """Who may change the weights, and to what."""

    weights: Path  # new ones lie below
    host: str  # the address that the server was told to listen on
    token: str | None = None  # None: started by hand, without one

    def check(self, http: Request) -> None:
        """Raises RequestError for a request that does not come from this run."""
        headers = http.headers
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RequestError("the content-type must be application/json", 415)
        if not self._is_ours(headers.get("host", ""), http.scope["server"][1]):
            raise RequestError(f"this server is not called {headers.get('host')!r}", 403)
        if "origin" in headers and headers["origin"] != f"http://{headers['host']}":
            raise RequestError(f"pages of {headers['origin']!r} may not change the weights", 403)
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if self.token and not hmac.compare_digest(given.encode(), self.token.encode()):
            raise RequestError("the run's token is missing or wrong; send it as Authorization: Bearer TOKEN", 401)

    def _is_ours(self, host: str, port: int | None) -> bool:
        """Whether a Host header names this server: a name of another's, which leads here, comes from a web page."""
        name, _, given = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "80")
        if given != str(port):
            return False
        with suppress(ValueError):
            ipaddress.ip_address(name.strip("[]"))
            return True
        return name.lower() in {"localhost", platform.node().lower(), self.host.lower()}
