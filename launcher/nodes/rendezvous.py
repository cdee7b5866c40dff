"""How the launches of a run's nodes find each other, before anything is started.

1. Node 0 listens on the port after torchrun's. It sends a nonce to everybody who connects.
2. The other node sends a hello with its own nonce. Both derive a key from the two nonces and the run's secret. The
   hello is sealed with this key.
3. When all nodes have joined, node 0 sends each a sealed welcome, with the values that are the same on all nodes.

So each side has proved that it knows the secret. If a node does not match or does not join in time, all nodes end with
the reason.
"""

import platform
from importlib.metadata import version

from launcher.nodes.arrival import Arrival
from launcher.nodes.meeting import Hello, Meeting, Say
from launcher.nodes.reception import Reception
from launcher.nodes.secret import JoinSecret
from launcher.plan.spec import Plan


def meet(plan: Plan, name: str | None, inference_port: int, timeout: float, say: Say, secret: JoinSecret) -> Meeting:
    """Wait until all nodes have joined.

    Args:
        plan: this node's plan, without what the other nodes will tell.
        name: the run's name; None lets node 0 choose.
        inference_port: the port of this node's first server, if it has one.
        timeout: seconds.
        say: shows a line to the person who waits.
        secret: the run's secret, if this node has it.

    Raises:
        UserError: a node does not join in time, does not match, or cannot be reached.
    """
    assert plan.nodes is not None
    hello = Hello(plan.nodes.rank, platform.node(), _asks(plan), inference_port, name)
    if plan.nodes.rank:
        return Arrival(plan.nodes, hello, secret, timeout, say).join()
    secret = secret.offer()
    try:
        return Reception(plan, hello, secret.key, timeout, say).receive()
    finally:
        secret.withdraw()


def _asks(plan: Plan) -> dict[str, str | int]:
    """The values that must be the same on all nodes. Only nodes of the trainer have ranks."""
    assert plan.nodes is not None
    asks: dict[str, str | int] = {"launch": version("launch-rl"), "command": plan.kind}
    asks |= {"trainer nodes": plan.nodes.trainer, "inference nodes": plan.nodes.inference}
    asks |= {"inference replicas": plan.nodes.replicas, "max restarts": plan.max_restarts}
    asks |= {"spare nodes": plan.nodes.spares, "min nodes": plan.nodes.fewest}
    ranks = [spec.ranks.count for spec in plan.processes if spec.ranks]
    return asks | ({"ranks per node": ranks[0]} if ranks else {})
