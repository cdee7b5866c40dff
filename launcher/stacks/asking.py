"""Asks the supervisor of a run what the processes of the other nodes are doing."""

from launcher.control.client import ask
from launcher.control.messages import Request
from launcher.errors import UserError
from launcher.nodes.messages import LookAt
from launcher.rundir import RunDir
from launcher.runs.state import RunState
from launcher.stacks.looks import Look, unpacked

PATIENCE: dict[LookAt, float] = {"all": 30.0, "collectives": 10.0}  # seconds; the supervisor gives up before


def ask_other_nodes(run: RunDir, state: RunState, at: LookAt) -> list[Look]:
    """A look at every other node, by the clock of this one. Nodes that cannot be asked say why. Empty for one node."""
    if state.nodes == 1:
        return []
    nodes = [node for node in range(state.nodes) if node != (state.node or 0)]
    try:
        looks = {look.node: look for look in map(unpacked, ask(run, state, Request(look=at), PATIENCE[at]).looks)}
    except (UserError, ValueError) as error:
        why = error.message if isinstance(error, UserError) else "the supervisor's answer cannot be understood"
        return [Look(node, trouble=why) for node in nodes]
    found = [looks[node] for node in nodes if node in looks]  # spares that wait and lost nodes have nothing to show
    return found or [Look(node, trouble="nothing is known of it") for node in nodes]
