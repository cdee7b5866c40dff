"""Runs on several nodes, all of them on this host: one `launch` for each, which meet on loopback."""

import os
import random
import socket
from itertools import count
from pathlib import Path

from launcher.rundir import RunDir
from launcher.runs.state import RunState, read_state
from tests.launching import PATIENCE, Launched, Launcher
from tests.waiting import until

PORTS = range(29_600, 32_700)  # above those that launch and torchrun choose from, below the kernel's ephemeral ones
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_EACH = len(PORTS) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) // 2 * 2
_OWN = PORTS[_WORKER * _EACH : (_WORKER + 1) * _EACH : 2]  # no other worker of this pytest looks at them
_next = count(random.randrange(len(_OWN)))


def free_port() -> int:
    """For a server that comes back to it: nobody takes it meanwhile."""
    return int(free_endpoint().rpartition(":")[2])


def free_endpoint() -> str:
    """HOST:PORT on loopback, where this port and the next one are free, also for processes that start later."""
    for _ in _OWN:
        port = _OWN[next(_next) % len(_OWN)]
        try:
            for each in (port, port + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", each))
        except OSError:
            continue
        return f"127.0.0.1:{port}"
    raise AssertionError


class Nodes:
    """The launches of one run, node 0 first. `shared` is whether they write to one directory."""

    def __init__(self, launch: Launcher, *arguments: str, count: int = 2, shared: bool = True) -> None:
        self.launch, self.arguments, self.shared = launch, arguments, shared
        self.endpoint = free_endpoint()
        self.launched = [self.start(node) for node in range(count)]

    def start(self, node: int) -> Launched:
        where = ("--output-dir", self.directory(node).name)
        return self.type(node, *self.arguments, *where)

    def resume(self, *arguments: str) -> None:
        """The next attempt, on all of them."""
        nodes = range(len(self.launched))
        self.launched = [self.type(node, "resume", str(self.directory(node)), *arguments) for node in nodes]

    def type(self, node: int, *arguments: str) -> Launched:
        meeting = ("--node-rank", str(node), "--rdzv-endpoint", self.endpoint)
        return self.launch(*arguments, "--no-tmux", *meeting)

    def directory(self, node: int) -> Path:
        return self.launch.directory / ("run" if self.shared else f"run_{node}")

    def run(self, node: int) -> RunDir:
        return RunDir(self.directory(node), node=node)

    def state(self, node: int) -> RunState:
        state = read_state(self.run(node))
        assert state is not None, self.outputs()
        return state

    def wait_for_rank(self, node: int) -> int:
        """The pid of the first rank of a node, as soon as run.json knows it."""

        def known() -> int:
            ranks = [rank.process for process in self.state(node).processes for rank in process.ranks]
            return ranks[0].pid if ranks and ranks[0] else 0

        return until(known)

    def exit_codes(self, seconds: float = PATIENCE) -> list[int]:
        return [launched.exit_code(seconds) for launched in self.launched]

    def outputs(self) -> str:
        return "\n".join(f"== node {node}\n{each.output[-3000:]}" for node, each in enumerate(self.launched))
