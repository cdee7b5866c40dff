import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from launcher.workload.rollout.transport import Connections

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def client(serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that does this with each connection."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", transport=Connections(), timeout=5.0) as http:
        yield http
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.05)  # until both sides have closed their connections


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    size = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0)
    return head + await reader.readexactly(size)


def answering(*answers: bytes, kept: list[int] | None = None) -> Serve:
    """Answers the requests of each connection with these, one after the other, then closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if kept is not None:
            kept.append(1)
        for answer in answers:
            await read_request(reader)
            writer.write(answer)
        writer.close()

    return serve


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n" + b'{"a": 1}'
CHUNKED = b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\n{"a\r\n5\r\n": 2}\r\n0\r\nx: y\r\n\r\n'


def test_an_answer_is_read_whole_or_in_chunks_over_one_connection() -> None:
    async def history() -> None:
        connections: list[int] = []
        async with client(answering(OK, CHUNKED, OK, kept=connections)) as http:
            answers = [(await http.post("/x", json={"n": 1})).json() for _ in range(3)]
        assert answers == [{"a": 1}, {"a": 2}, {"a": 1}]
        assert len(connections) == 1

    asyncio.run(history())


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"])
def test_an_answer_may_end_with_the_connection(head: bytes) -> None:
    async def history() -> None:
        async with client(answering(head + b'{"a": 3}')) as http:
            assert [(await http.get("/x")).json() for _ in range(2)] == [{"a": 3}] * 2

    asyncio.run(history())


def test_a_connection_that_the_server_has_closed_meanwhile_is_replaced() -> None:
    async def history() -> None:
        async with client(answering(OK)) as http:
            assert [(await http.get("/health")).status_code for _ in range(3)] == [200] * 3

    asyncio.run(history())


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", OK[:-3], b"nonsense\r\n\r\n", CHUNKED[:-20]])
def test_a_server_that_goes_away_in_the_middle_is_a_transport_error(answer: bytes) -> None:
    async def history() -> None:
        async with client(answering(answer)) as http:
            with pytest.raises(httpx.TransportError):
                await http.get("/health")

    asyncio.run(history())


def test_no_answer_within_the_time_and_nobody_there_are_transport_errors() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await reader.read()  # until the client hangs up
        writer.close()

    async def history() -> None:
        async with client(silent) as http:
            with pytest.raises(httpx.ReadTimeout):
                await http.get("/health", timeout=0.1)
            url = str(http.base_url)
        with pytest.raises(httpx.ConnectError):
            async with httpx.AsyncClient(base_url=url, transport=Connections()) as http:
                await http.get("/health")

    asyncio.run(history())


def test_requests_at_the_same_time_do_not_wait_for_each_other() -> None:
    async def history() -> None:
        everyone = asyncio.Barrier(20)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            await everyone.wait()
            writer.write(OK)
            writer.close()

        async with client(serve) as http:
            answers = await asyncio.gather(*(http.get("/x") for _ in range(20)))
        assert [answer.status_code for answer in answers] == [200] * 20

    asyncio.run(history())
