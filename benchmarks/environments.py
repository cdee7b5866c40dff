"""What an environment of verifiers costs: its rollouts, beside the same completions asked for directly.

    python benchmarks/environments.py [ROLLOUTS]

Both ask the builtin server with the model `tiny`, one completion a request. The CPU time is the orchestrator's part,
which the server, a process of its own, does not wait for.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.config.workload import TaskConfig, TinyConfig
from launcher.machine.ports import free_ports
from launcher.rundir import RunDir
from launcher.workload.models.tiny import make_tiny
from launcher.workload.rollout.client import CompletionRequest
from launcher.workload.rollout.players import load_player
from launcher.workload.rollout.playing import Draw, Player
from launcher.workload.rollout.policy import Policy
from launcher.workload.rollout.servers import InferenceServers, together
from launcher.workload.rollout.texts import Texts

ENVIRONMENTS = Path(__file__).parents[1] / "tests" / "environments"
GROUP, LONGEST, TIMES = 16, 8, 3


@contextmanager
def serving(run: RunDir) -> Iterator[str]:
    port = free_ports("127.0.0.1").start
    argv = [sys.executable, "-m", "launcher.workload.inference", "--output-dir", str(run.root), "--port", str(port)]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


async def direct(policy: Policy, player: Player, texts: Texts, count: int) -> None:
    prompts = [player.prompt(0, at // GROUP).data.prompt for at in range(count)]
    await together(
        policy.ask(CompletionRequest(texts.tokens(prompt), 1, 1.0, LONGEST, at)) for at, prompt in enumerate(prompts)
    )


async def played(player: Player, count: int) -> None:
    draws = (Draw(GROUP, 1.0, LONGEST, at) for at in range(count // GROUP))
    await together(player.play(at, player.prompt(0, at), draw) for at, draw in enumerate(draws))


async def measure(name: str, count: int, work: Awaitable[None]) -> None:
    started, used = time.perf_counter(), time.thread_time()
    await work
    seconds, cpu = time.perf_counter() - started, time.thread_time() - used
    print(f"{name:>12}: {seconds:6.2f} s, {count / seconds:5.0f} rollouts/s, {cpu:5.2f} s of CPU time")


async def compare(run: RunDir, url: str, count: int) -> None:
    async with InferenceServers(url, "policy") as servers:
        policy = Policy(run, servers, 60, 60)
        player = load_player(TaskConfig(name="verifiers:reverse-chat"), policy)
        await policy.wait_until_ready()
        texts = Texts(str(run.model))
        await player.open(texts)
        for _ in range(TIMES):
            await measure("direct", count, direct(policy, player, texts, count))
            await measure("environment", count, played(player, count))
        await player.close()


def main(count: int = 512) -> None:
    sys.path.insert(0, str(ENVIRONMENTS))
    with tempfile.TemporaryDirectory() as directory:
        run = RunDir(Path(directory))
        make_tiny(run.model, TinyConfig(), seed=0)
        print(f"{count} rollouts of one turn, groups of {GROUP}, on {os.cpu_count()} cores")
        with serving(run) as url:
            asyncio.run(compare(run, url, count))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
