"""`launch doctor --nodes`: all nodes meet as those of a run do, and check each other."""

import os
import platform
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from launcher.config.torchrun import TORCHRUN_PORT
from launcher.doctor.check import Check, ask
from launcher.doctor.nodes.checks import Examination
from launcher.doctor.nodes.node import Node, answer_node_0
from launcher.errors import UserError
from launcher.nodes.arrival import Arrival
from launcher.nodes.channel import Channel
from launcher.nodes.meeting import Hello, Meeting, Say
from launcher.nodes.reception import Reception
from launcher.nodes.secret import join_secret
from launcher.plan.nodes import Nodes
from launcher.plan.rendezvous import host_and_port
from launcher.plan.spec import Plan, Progress
from launcher.rundir import RunDir
from launcher.slurm.client import own_step


@dataclass(frozen=True)
class Asked:
    """What was typed."""

    count: int
    rank: int | None
    endpoint: str | None
    secret_file: Path | None
    timeout: float  # seconds
    directory: Path


def examine_nodes(asked: Asked, say: Say, show: Callable[[list[Check]], int]) -> int:
    """Meet the other nodes and check them. Node 0 shows the result. Returns the exit code, the same on all nodes.

    Raises UserError when a node does not come.
    """
    nodes = _nodes(asked)
    meeting = _meet(asked, nodes, say)
    channels, nodes = meeting.channels(), meeting.nodes
    own = Node(asked.directory)
    try:
        if nodes.rank == 0:
            return _examine(nodes, own, channels, show)
        say(f"node {nodes.rank} is being checked; node 0 shows the result")
        return answer_node_0(channels[0], own)
    finally:
        own.close()


def _examine(nodes: Nodes, own: Node, channels: Mapping[int, Channel], show: Callable[[list[Check]], int]) -> int:
    code = show(list(Examination(nodes, own, channels).checks()))
    for channel in channels.values():
        with suppress(OSError):  # it is gone, as the result says
            channel.send({"ask": "end", "code": code})
    return code


def _nodes(asked: Asked) -> Nodes:
    step = own_step()
    rank = asked.rank if asked.rank is not None or step is None else step.node
    endpoint = asked.endpoint or (_first_host() if step else None)
    if asked.count < 2:
        raise UserError(f"--nodes {asked.count}: two nodes or more", "for this machine alone: launch doctor")
    if step and asked.rank is None and (step.nodes != asked.count or step.tasks != asked.count):
        once = f"srun --nodes={asked.count} --ntasks-per-node=1 launch doctor --nodes {asked.count}"
        raise UserError(f"srun starts launch {step.tasks} times on {step.nodes} nodes", f"type: {once}")
    missing = [flag for flag, value in {"--node-rank": rank, "--rdzv-endpoint": endpoint}.items() if value is None]
    if rank is None or endpoint is None:
        raise UserError(
            f"launch doctor on {asked.count} nodes needs {' and '.join(missing)}",
            "on each node, type the same command with its own --node-rank, from 0, and the same "
            f"--rdzv-endpoint HOST:{TORCHRUN_PORT}, where HOST is node 0; or: "
            f"srun --nodes={asked.count} --ntasks-per-node=1 launch doctor --nodes {asked.count}",
        )
    if rank >= asked.count:
        raise UserError(f"--node-rank {rank}: there are {asked.count} nodes", f"allowed: 0 to {asked.count - 1}")
    return Nodes(rank, asked.count, 0, *host_and_port(endpoint))


def _first_host() -> str | None:
    """Where node 0 of the job step can be reached. Its name in Slurm may be none of the network's."""
    names = _scontrol("hostnames", os.environ.get("SLURM_STEP_NODELIST", ""))
    if not names:
        return None
    facts = dict(fact.partition("=")[::2] for fact in _scontrol("node", names[0], "--oneliner"))
    return facts.get("NodeAddr") or names[0]


def _scontrol(*what: str) -> list[str]:
    """The words that `scontrol show` prints; none if it fails."""
    return (ask("scontrol", "show", *what, seconds=10.0) or "").split()


def _meet(asked: Asked, nodes: Nodes, say: Say) -> Meeting:
    known = join_secret(asked.secret_file, os.environ, nodes, None)
    asks: dict[str, str | int] = {"launch": version("launch-rl"), "command": "doctor", "trainer nodes": nodes.trainer}
    hello = Hello(nodes.rank, platform.node(), asks, 0, None)
    if nodes.rank:
        return Arrival(nodes, hello, known, asked.timeout, say).join()
    nothing = Progress("", "", None)
    run_id = secrets.token_hex(4)
    plan = Plan("train", "doctor", RunDir(Path.cwd()), (), (), nothing, 0.0, 0.0, run_id=run_id, nodes=nodes)
    return Reception(plan, hello, known.key, asked.timeout, say).receive()
