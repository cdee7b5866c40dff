"""Times our inference server under 64 clients of the `openai` package, alone and beside clients that mean no good.

    python benchmarks/inference.py [SECONDS [TURNS [OTHER]]]

Each client asks again and again for 4 completions of 16 tokens. The second row has 200 connections beside them that
send a header a byte at a time, the third a client that asks for 64,000 completions and leaves, again and again, and the
fourth has both. OTHER is a directory with another version of launcher: both servers are started, and the clients ask
them in turn. A turn takes SECONDS, and there are TURNS of each. The variable CLIENTS says how many clients there are.
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
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from statistics import median

import httpx
import openai
import psutil

CLIENTS, SLOW = int(os.environ.get("CLIENTS", "64")), 200
WARM_UP, SETTLE = 2.0, 0.5  # seconds
Beside = Callable[[int], AbstractAsyncContextManager[None]]
ASKED = {"model": "policy", "prompt": "abcdef>", "n": 4, "max_tokens": 16}
ABANDONED = {"model": "policy", "prompt": ["abcdef>"] * 32, "n": 125, "max_tokens": 16}  # 16 of them make 64,000


@dataclass
class Served:
    """What one server has done for the clients."""

    seconds: float
    took: list[float]  # seconds of each request, sorted
    cpu: float  # seconds

    @property
    def rate(self) -> float:
        return len(self.took) / self.seconds

    @property
    def cost(self) -> float:
        """Seconds of CPU time for each request."""
        return self.cpu / len(self.took)

    def quantile(self, percent: int) -> float:
        return self.took[len(self.took) * percent // 100]

    def __str__(self) -> str:
        usual, p99, cost = (value * 1000 for value in (self.quantile(50), self.quantile(99), self.cost))
        times = f"median {usual:5.0f} ms  p99 {p99:5.0f} ms  the server's CPU {cost:5.2f} ms a request"
        return f"{self.rate:6.1f} requests/s  {times}"


FIGURES: dict[str, Callable[[Served], float]] = {
    "requests/s": lambda served: served.rate,
    "p99": lambda served: served.quantile(99),
    "CPU a request": lambda served: served.cost,
}


@contextlib.contextmanager
def server(version: str = "") -> Iterator[tuple[int, psutil.Process]]:
    """A server of its own: its port, its process. `version` is a directory with the launcher that it is of."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with tempfile.TemporaryDirectory() as directory:
        argv = [sys.executable, "-m", "launcher.workload.inference", "--output-dir", directory, "--port", str(port)]
        environment = os.environ | ({"PYTHONPATH": version} if version else {})
        process = subprocess.Popen(
            argv, cwd=directory, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
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


async def measure(port: int, process: psutil.Process, seconds: float, beside: Beside) -> Served:
    before = sum(process.cpu_times()[:2])
    async with beside(port):
        took = sorted(await ask(port, seconds))
    return Served(seconds, took, sum(process.cpu_times()[:2]) - before)


@asynccontextmanager
async def both(port: int) -> AsyncIterator[None]:
    async with slow_connections(port), abandoned_work(port):
        yield


async def show_all(seconds: float, turns_of_each: int) -> None:
    """One server serves the clients with each of these beside them in turn, again and again."""
    served: dict[Beside, list[Served]] = {beside: [] for beside in (nobody, slow_connections, abandoned_work, both)}
    with server() as (port, process):
        await ask(port, WARM_UP)
        for _ in range(turns_of_each):
            for beside, turns in served.items():
                turns.append(await measure(port, process, seconds, beside))
                await ask(port, SETTLE)
    alone = together(served[nobody])
    for beside, turns in served.items():
        all_turns = together(turns)
        ratio = all_turns.quantile(99) / alone.quantile(99)
        print(f"{beside.__name__:<16} {all_turns}  p99 {ratio:.2f} of alone")


def together(turns: list[Served]) -> Served:
    took = sorted(took for served in turns for took in served.took)
    return Served(sum(served.seconds for served in turns), took, sum(served.cpu for served in turns))


async def compare(seconds: float, turns_of_each: int, version: str) -> None:
    """Both are there at the same time, and each pair of turns begins with the other one."""
    with server() as this, server(version) as other:
        for port, _ in (this, other):
            await ask(port, WARM_UP)
        pairs = []
        for number in range(turns_of_each):
            turns = [await measure(*each, seconds, nobody) for each in ((this, other), (other, this))[number % 2]]
            pairs.append(tuple(reversed(turns)) if number % 2 else tuple(turns))
            print(
                *(f"{title:<6} {served}" for title, served in zip(("this", "other"), pairs[-1], strict=True)), sep="\n"
            )
    print(f"this to the other, medians of {turns_of_each} pairs: ", end="")
    for title, figure in FIGURES.items():
        print(f"{title} {median(figure(one) / figure(two) for one, two in pairs):.3f}  ", end="")
    print()


def main(seconds: str = "3", turns: str = "10", version: str = "") -> None:
    asyncio.run(compare(float(seconds), int(turns), version) if version else show_all(float(seconds), int(turns)))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(*sys.argv[1:])
