"""Times our inference server under 64 clients of the `openai` package, alone and beside clients that mean no good.

    python benchmarks/inference.py [SECONDS]

Each client asks again and again for 4 completions of 16 tokens. The second row has 200 connections beside them that
send a header a byte at a time, and the third a client that asks for 64,000 completions and leaves, again and again. To
compare two versions, run it in turn with each of them on PYTHONPATH.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import httpx
import openai
import psutil

CLIENTS, SLOW = 64, 200
ASKED = {"model": "policy", "prompt": "abcdef>", "n": 4, "max_tokens": 16}
ABANDONED = {"model": "policy", "prompt": ["abcdef>"] * 32, "n": 125, "max_tokens": 16}  # 16 of them make 64,000


@contextlib.contextmanager
def server() -> Iterator[tuple[int, psutil.Process]]:
    """A server of its own: its port, its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with tempfile.TemporaryDirectory() as directory:
        argv = [sys.executable, "-m", "launcher.workload.inference", "--output-dir", directory, "--port", str(port)]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                        break
                time.sleep(0.1)
            yield port, psutil.Process(process.pid)
        finally:
            process.kill()
            process.wait()


async def ask(port: int, seconds: float) -> list[float]:
    """How long each request of all clients took."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def one(client: openai.AsyncOpenAI) -> None:
        while (start := time.perf_counter()) < end:
            await client.completions.create(**ASKED)  # type: ignore[call-overload]
            took.append(time.perf_counter() - start)

    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=60) as client:
        await asyncio.gather(*(one(client) for _ in range(CLIENTS)))
    return took


@asynccontextmanager
async def nobody(port: int) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def slow_connections(port: int) -> AsyncIterator[None]:
    """Connections that send a header a byte at a time."""

    async def one() -> None:
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(OSError):
                for byte in b"POST /v1/completions HTTP/1.1\r\nx-slow: " + b"x" * 1000:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.5)
            writer.close()

    tasks = [asyncio.create_task(one()) for _ in range(SLOW)]
    yield
    for task in tasks:
        task.cancel()


@asynccontextmanager
async def abandoned_work(port: int) -> AsyncIterator[None]:
    """A client that asks for 64,000 completions and leaves, once a second."""
    body = json.dumps(ABANDONED).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"

    async def again() -> None:
        while True:
            writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(16)]
            for writer in writers:
                writer.write(head.encode() + body)
                await writer.drain()
            await asyncio.sleep(0.1)
            for writer in writers:
                writer.transport.abort()
            await asyncio.sleep(1)

    task = asyncio.create_task(again())
    yield
    task.cancel()


async def measure(beside: Callable[[int], contextlib.AbstractAsyncContextManager[None]], seconds: float) -> str:
    with server() as (port, process):
        await ask(port, 2)
        before = sum(process.cpu_times()[:2])
        async with beside(port):
            took = sorted(await ask(port, seconds))
        cost = (sum(process.cpu_times()[:2]) - before) / len(took)
    rate, median, p99 = len(took) / seconds, took[len(took) // 2], took[len(took) * 99 // 100]
    times = (
        f"median {median * 1000:5.0f} ms  p99 {p99 * 1000:5.0f} ms  the server's CPU {cost * 1000:5.2f} ms a request"
    )
    return f"{rate:6.1f} requests/s  {times}"


def main(seconds: float) -> None:
    for title, beside in [("alone", nobody), ("slow connections", slow_connections), ("abandoned", abandoned_work)]:
        print(f"{title:<18} {asyncio.run(measure(beside, seconds))}", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
