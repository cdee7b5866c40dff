"""The ranks of a living run that reach their collectives late, over all its nodes."""

from dataclasses import dataclass

from launcher.numbers import duration
from launcher.rundir import RunDir
from launcher.runs.liveness import is_local, of_this_host
from launcher.runs.state import RunState
from launcher.stacks.asking import ask_other_nodes
from launcher.stacks.collectives import ranks_text
from launcher.stacks.diagnosis import take_look
from launcher.stacks.lateness import find_late
from launcher.stacks.looks import all_recordings, node_of


@dataclass(frozen=True)
class LateStatus:
    ranks: tuple[int, ...]  # global ranks
    nodes: tuple[int, ...]  # where they are; empty in a run on one node
    share: float  # of the time in which the others waited for them
    seconds: float  # the time that was looked at, until now
    collectives: int  # that were compared

    @property
    def text(self) -> str:
        """ "rank 5 on node 1: the others waited for it 38% of the last 12s"."""
        where = f" on {ranks_text(self.nodes, 'node')}" if self.nodes else ""
        them = "them" if len(self.ranks) > 1 else "it"
        waited = f"the others waited for {them} {self.share:.0%} of the last {duration(self.seconds)}"
        return f"{ranks_text(self.ranks)}{where}: {waited} ({self.collectives} collectives)"


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
