"""Against our own server, a real uvicorn: it closes a connection that is idle for 5 s, as vLLM does."""

import asyncio
import socket
import time
from contextlib import ExitStack
from typing import Any

import aiohttp
import pytest

from launcher.workload.models.tiny import END_TOKEN
from launcher.workload.rollout.connections import open_session, send
from launcher.workload.serving.engine import Engine
from launcher.workload.serving.server import bind
from tests.waiting import PATIENCE
from tests.workload.running import serving

TOGETHER = 8  # requests, each over a connection of its own
STALL = 6.5  # seconds for which the client does nothing
LATE = 31.0  # seconds until a server accepts connections
THINKS = 0.3  # seconds that the engine takes for an answer


def body(n: int) -> dict[str, Any]:
    prompt = [END_TOKEN, *b"ab>"]
    return {"model": "policy", "prompt": prompt, "n": n, "max_tokens": 4, "temperature": 1.0, "seed": 0, "logprobs": 0}


def count_requests(engine: Engine) -> list[int]:
    """How many completions each request asks for, from now on."""
    sizes: list[int] = []
    generate = engine.generate

    def counted(wanted: Any) -> Any:
        sizes.append(len(wanted))
        time.sleep(THINKS)
        return generate(wanted)

    engine.generate = counted  # type: ignore[method-assign]
    return sizes


def test_a_request_over_a_connection_that_the_server_has_closed_is_sent_again_and_answered_once() -> None:
    """The client stalls while answers are on their way. It reads them after the server has closed the connections."""

    async def ask(url: str, sizes: list[int]) -> list[tuple[int, bytes]]:
        async with open_session() as session:

            async def ask_twice(n: int) -> list[tuple[int, bytes]]:
                return [await send(session, "POST", f"{url}/v1/completions", json=body(n)) for _ in range(2)]

            chains = [asyncio.create_task(ask_twice(n)) for n in range(1, TOGETHER + 1)]
            while len(sizes) < TOGETHER:
                await asyncio.sleep(0.001)
            time.sleep(STALL)
            return [answer for chain in chains for answer in await chain]

    with serving() as (url, engine):
        sizes = count_requests(engine)
        answers = asyncio.run(asyncio.wait_for(ask(url, sizes), 120))
    assert [status for status, _ in answers] == [200] * 2 * TOGETHER
    assert sorted(sizes) == sorted([*range(1, TOGETHER + 1)] * 2)


@pytest.mark.slow
def test_a_request_waits_for_a_server_whose_queue_of_connections_is_full() -> None:
    """The kernel asks such a server again, for two minutes; aiohttp by itself would give up after 30 s."""

    def answer(listener: socket.socket) -> None:
        said = False
        listener.settimeout(PATIENCE)  # a thread that waits for ever would keep the loop from ending
        while not said:  # others have left
            connection, _ = listener.accept()
            connection.settimeout(PATIENCE)
            with connection:
                said = bool(connection.recv(1 << 16))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" if said else b"")

    async def ask(listener: socket.socket, others: ExitStack) -> tuple[int, bytes]:
        async with open_session() as session:
            asked = asyncio.create_task(send(session, "GET", f"http://127.0.0.1:{listener.getsockname()[1]}/"))
            await asyncio.wait([asked], timeout=LATE)
            assert not asked.done()
            others.close()
            await asyncio.to_thread(answer, listener)
            return await asked

    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as others:
        with pytest.raises(TimeoutError):
            while True:
                others.enter_context(socket.create_connection(listener.getsockname(), timeout=1))
        assert asyncio.run(asyncio.wait_for(ask(listener, others), 120)) == (200, b"{}")


def test_a_server_that_has_ended_is_not_asked_for_ever() -> None:
    async def ask(url: str, stop: Any) -> None:
        async with open_session() as session:
            assert (await send(session, "POST", f"{url}/v1/completions", json=body(1)))[0] == 200
            stop()
            await send(session, "POST", f"{url}/v1/completions", json=body(1))

    server = serving()
    url, _ = server.__enter__()
    with pytest.raises(aiohttp.ClientConnectorError):
        asyncio.run(asyncio.wait_for(ask(url, lambda: server.__exit__(None, None, None)), 60))


def test_a_new_connection_that_breaks_is_no_reason_to_ask_again() -> None:
    """Such a server dies of the request."""

    async def ask() -> int:
        asked = 0

        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            asked += 1
            writer.close()

        with bind("127.0.0.1", 0) as listener:
            async with await asyncio.start_server(hang_up, sock=listener), open_session() as session:
                with pytest.raises(aiohttp.ClientError):
                    await send(session, "POST", f"http://127.0.0.1:{listener.getsockname()[1]}/", json={})
        return asked

    assert asyncio.run(asyncio.wait_for(ask(), 60)) == 1
