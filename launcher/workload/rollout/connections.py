"""HTTP to one inference server, over connections that stay open between requests.

Servers close a connection that is idle: uvicorn, and with it vLLM, after 5 s. A client that is busy or gets no CPU time
reads an answer late, counts the idle time from then, and sends its next request over a connection that the server has
closed meanwhile. Nothing is wrong with the server: the request is sent again, over another connection.

That is safe, since all that we ask for may be asked for twice: completions are drawn, weights are loaded again.

How long connecting may take is left to the kernel: it asks again after 1, 3, 7 … s, and gives up after two minutes. A
server that is busy accepts late, and a limit of our own would also count the time in which we got no CPU.
"""

import os
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp

from launcher.config.serving import INFERENCE_TOKEN

PATIENCE = aiohttp.ClientTimeout(total=1800.0)  # seconds of a request: completions may be long
MOST_CONNECTIONS = 1024  # to one server; further requests wait for a free one
IDLE = 2.0  # seconds after which we close a connection ourselves, well before the server


@dataclass
class _Request:
    is_reused: bool = False  # whether it went over a connection that had served another one


def open_session() -> aiohttp.ClientSession:
    """Within the event loop. httpx takes five times the CPU time for as many requests at a time."""
    token = os.environ.get(INFERENCE_TOKEN)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_reused)
    trace.on_connection_create_start.append(_created)
    connector = aiohttp.TCPConnector(limit=MOST_CONNECTIONS, keepalive_timeout=IDLE)
    return aiohttp.ClientSession(headers=headers, timeout=PATIENCE, connector=connector, trace_configs=[trace])


async def send(session: aiohttp.ClientSession, method: str, url: str, **more: Any) -> tuple[int, bytes]:
    """The status and the content of the answer. Raises ClientError or TimeoutError."""
    while True:  # each turn uses up a connection that was open
        request = _Request()
        try:
            answer = await session.request(method, url, trace_request_ctx=request, **more)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):  # before the answer has begun
            if not request.is_reused:
                raise
            continue
        async with answer:
            return answer.status, await answer.read()


async def _reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
    context.trace_request_ctx.is_reused = True


async def _created(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
    context.trace_request_ctx.is_reused = False
