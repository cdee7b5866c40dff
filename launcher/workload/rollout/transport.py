"""Connections to an inference server, below httpx's client.

httpx's own pool looks at every connection for every request: 32 requests at a time take it 190 ms, and this 34.
"""

import asyncio
import ssl
from contextlib import suppress

import httpx

MOST_HEAD = 1 << 16  # bytes of an answer's head
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Stale(Exception):
    """The server has closed a connection that was kept, before it answered anything."""


class Connections(httpx.AsyncBaseTransport):
    """HTTP/1.1, as many connections as there are requests at a time; each is kept. Raises httpx.TransportError."""

    def __init__(self) -> None:
        self._free: list[_Streams] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeout = request.extensions["timeout"]
        content = _head(request) + await request.aread()
        while self._free:
            try:
                return await self._exchange(self._free.pop(), content, timeout["read"])
            except _Stale:
                continue
        try:
            streams = await asyncio.wait_for(_connect(request.url), timeout["connect"])
        except (OSError, TimeoutError) as error:
            raise httpx.ConnectError(str(error) or type(error).__name__) from error
        try:
            return await self._exchange(streams, content, timeout["read"])
        except _Stale as error:
            raise httpx.ReadError("it closed the connection") from error

    async def aclose(self) -> None:
        for _, writer in self._free:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        self._free.clear()

    async def _exchange(self, streams: _Streams, content: bytes, timeout: float | None) -> httpx.Response:
        reader, writer = streams
        is_kept = False
        try:
            writer.write(content)
            answer = await asyncio.wait_for(_read_answer(reader), timeout)
            is_kept = answer.headers.get("connection", "").lower() != "close"
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"no answer within {timeout:g} s") from error
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise httpx.ReadError(str(error) or type(error).__name__) from error
        finally:
            self._free.append(streams) if is_kept else writer.close()
        return answer


async def _connect(url: httpx.URL) -> _Streams:
    secure = ssl.create_default_context() if url.scheme == "https" else None
    return await asyncio.open_connection(url.host, url.port or (443 if secure else 80), ssl=secure, limit=MOST_HEAD)


def _head(request: httpx.Request) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % pair for pair in request.headers.raw]
    return b"\r\n".join([*lines, b"", b""])


async def _read_answer(reader: asyncio.StreamReader) -> httpx.Response:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        if getattr(error, "partial", b""):
            raise
        raise _Stale from error
    status, *lines = head[:-4].split(b"\r\n")
    headers = httpx.Headers([(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)])
    if "chunked" in headers.get("transfer-encoding", ""):
        body = await _read_chunks(reader)
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:  # it ends with the connection
        body = await reader.read()
        headers["connection"] = "close"
    if status.startswith(b"HTTP/1.0"):
        headers["connection"] = "close"
    return httpx.Response(int(status.partition(b" ")[2][:3]), headers=headers, stream=httpx.ByteStream(body))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int((await reader.readline()).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()).strip():
        pass  # trailers
    return b"".join(chunks)
