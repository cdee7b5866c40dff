"""What happens when a node is lost: a spare takes its place, the run continues with fewer nodes, or it ends."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from launcher.failure.failure import Culprit
from launcher.failure.verdict import Setback, judge
from launcher.numbers import plural
from launcher.plan.nodes import Nodes
from launcher.supervisor.rules.actions import Action, Decided, KillOne, StartAttempt
from launcher.supervisor.rules.lifecycle import State
from launcher.supervisor.rules.members import Members
from launcher.supervisor.rules.policy import Policy


@dataclass
class Losses:
    """What node 0 knows of lost nodes and of spares.

    The others learn from node 0 which nodes are gone, and what the next attempt runs on.
    """

    spares: set[int] = field(default_factory=set)
    lost: dict[int, str] = field(default_factory=dict)  # nodes that the next attempt runs without, and why
    gone: set[int] = field(default_factory=set)  # nodes of the trainer that this attempt has lost

    def instead(self, nodes: Nodes, also: Iterable[int] = ()) -> Nodes | None:
        """What the next attempt can run on. None: it would need the lost nodes."""
        return nodes.without({*self.lost, *also}, self.spares)

    def text(self, nodes: Nodes) -> str | None:
        """ "node 2 takes its place", "the run continues on 3 nodes"; None if nothing changes."""
        found = self.instead(nodes) if self.lost else None
        if found is None:
            return None
        taken = [f"node {node}" for node in found.places if node not in nodes.places]
        spares = f"{' and '.join(taken)} {'takes its place' if len(taken) == 1 else 'take their places'}"
        fewer = f"the run continues on {plural(found.count, 'node')}"
        return "; ".join([spares] * bool(taken) + [fewer] * (found.count < nodes.count))

    def settle(self, nodes: Nodes) -> set[int]:
        """The next attempt runs on `nodes`. Returns the spares that it takes."""
        taken = self.spares & set(nodes.places)
        self.spares -= taken
        self.lost.clear()
        return taken


@dataclass
class LossPolicy(Policy):
    """The rules for a lost node. `plan.nodes` must say which node this one is."""

    _others: Members = field(default_factory=Members)
    _losses: Losses = field(default_factory=Losses)
    _has_begun: bool = False  # the next attempt is being started
    next_nodes: Nodes | None = None  # what it runs on, if not on the same as this one

    def __post_init__(self) -> None:
        super().__post_init__()
        self._here = self._all.rank
        self._others.living |= set(self._all.peers)
        self._others.begin(self._all)
        if self._here == 0:
            self._losses.spares |= set(range(self._all.count, self._all.launches))

    @property
    def _all(self) -> Nodes:
        """The nodes that this attempt runs on."""
        assert self.plan.nodes is not None
        return self.plan.nodes

    def _on_loss(self, node: int, why: str) -> list[Action]:
        is_needed = node in self._others.living
        actions = self._end_without(node, why)
        return [*actions, *(self._kill_ranks_without([node]) if is_needed else ())]

    def _kill_ranks_without(self, lost: Collection[int]) -> list[Action]:
        """Kill the ranks here if a node of the trainer is lost: they wait for it in a collective, and cannot save."""
        new = {node for node in lost if self._all.runs("trainer", node)} - self._losses.gone
        if not new or self.state not in (State.RESTARTING, State.FAILED) or self._has_begun:
            return []
        self._losses.gone |= new
        running = self._alive | self._starting
        return [KillOne(spec.name) for spec in self.plan.processes if spec.ranks and spec.name in running]

    def _end_without(self, node: int, why: str) -> list[Action]:
        self._losses.spares.discard(node)
        if node not in self._others.living:
            return []
        if self._has_begun and self._here == 0 and self.state is State.RESTARTING:
            self._losses.lost[node] = why  # the next attempt has its plan already: handled when it begins
            return []
        self._others.lose(node)
        if self._is_ending():
            return self._when_empty()
        if self._here == 0 and self._losses.instead(self._all, also=[node]):
            if self.restarts or self.state is State.RESTARTING:
                return self._continue_without(node, why)
            self.is_used_up = True
        if self.state is State.RESTARTING:
            return self._give_up(f"node {node}: {why}")
        self.culprit = Culprit(f"node {node}", why, node=node)
        asked = [self._no_place_for(node, why)] if self.plan.max_restarts and not self.is_used_up else []
        return [*asked, *self._stop(State.FAILED, self.culprit.text)]

    def _continue_without(self, node: int, why: str) -> list[Action]:
        """The next attempt has a spare in the node's place, or one place fewer."""
        self._losses.lost[node] = why
        lost = Culprit(f"node {node}", why, node=node)
        if self.verdict is None:  # what failed elsewhere in this moment has failed because of it
            self.culprit = lost
        return self._restart(lost.text) if self.state is State.RUNNING else self._when_attempt_is_over()

    def _begin_next(self, actions: list[Action]) -> list[Action]:
        """On node 0: settle what the next attempt runs on. A spare may have left since."""
        nodes = self._losses.instead(self._all)
        if nodes is None:
            node, why = next(iter(self._losses.lost.items()))
            kept = [action for action in actions if action != StartAttempt()]
            return [*kept, *self._give_up(f"node {node}: {why}; no spare is there any more")]
        self.next_nodes, self._has_begun = nodes, True
        self._others.living |= self._losses.settle(nodes)
        return actions

    def _no_place_for(self, node: int, why: str) -> Decided:
        self.verdict = judge((), Setback("lost node", f"node {node}", why, ()), self.backoff)
        return Decided(self.verdict)
