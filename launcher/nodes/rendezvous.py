"""How the launches of a run's nodes find each other, before anything is started.

Node 0 listens on the port after torchrun's, and says a nonce to everybody who connects. The other says who it is,
with a nonce of its own, sealed with the key that both derive from the two and the run's secret. The answer is sealed as
well, so each has proved to the other that it knows the secret. When all have come, node 0 tells them what they have in
common. Whoever does not fit, or does not come, ends it for all, with the reason.
"""

import platform
from importlib.metadata import version

from launcher.nodes.arrival import Arrival
from launcher.nodes.meeting import Hello, Meeting, Say
from launcher.nodes.reception import Reception
from launcher.nodes.secret import JoinSecret
from launcher.plan.spec import Plan


def meet(plan: Plan, name: str | None, inference_port: int, timeout: float, say: Say, secret: JoinSecret) -> Meeting:
    """Wait until all nodes are there.

    Args:
        plan: what this node would start, as far as it knows.
        name: what the run must be called; None leaves it to node 0.
        inference_port: of the server on this node, if it has one.
        timeout: seconds.
        say: tells the person who waits.
        secret: what this node knows of the run's.

    Raises:
        UserError: a node does not come in time, or does not fit, or there is no way to it.
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
    """What must be the same on all nodes; only those of the trainer have ranks."""
    assert plan.nodes is not None
    asks: dict[str, str | int] = {"launch": version("launch-rl"), "command": plan.kind}
    asks |= {"trainer nodes": plan.nodes.trainer, "inference nodes": plan.nodes.inference}
    ranks = [spec.ranks.count for spec in plan.processes if spec.ranks]
    return asks | ({"ranks per node": ranks[0]} if ranks else {})
