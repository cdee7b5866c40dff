"""The ranks of a living run that reach their collectives late, over all its nodes."""

from launcher.rundir import RunDir
from launcher.runs.liveness import is_local, of_this_host
from launcher.runs.state import RunState
from launcher.stacks.asking import ask_other_nodes
from launcher.stacks.diagnosis import take_look
from launcher.stacks.lateness import find_late
from launcher.stacks.looks import all_recordings, node_of
from launcher.view.status.model import LateStatus


def late_ranks(run: RunDir, state: RunState) -> LateStatus | None:
    """None if no rank is clearly behind, or if nothing is known: the run is elsewhere, or has no flight recorders."""
    run, state = of_this_host(run, state)
    count = sum(len(process.ranks) for process in state.processes)
    if not is_local(state) or count * state.nodes < 2:
        return None
    looks = [take_look(run, state, "collectives"), *ask_other_nodes(run, state, "collectives")]
    late = find_late(all_recordings(looks))
    if late is None:
        return None
    nodes = {node for rank in late.ranks if (node := node_of(looks, rank)) is not None}
    return LateStatus(late.ranks, tuple(sorted(nodes)), late.share, late.seconds, late.collectives)
