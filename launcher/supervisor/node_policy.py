"""The rules of a run on several nodes. Each node has its own policy.

The nodes report their state to each other, and what ends the run on one node ends it on all. Node 0 hears every other
node, and each of them hears node 0. So node 0 is the first to know that the run has finished, and the last to end.
"""

import signal
from dataclasses import dataclass, field, replace

from launcher.failure.failure import Culprit
from launcher.nodes.messages import Lost, Report, Reported
from launcher.supervisor.actions import Action, AwaitNodes, Kill
from launcher.supervisor.events import Event, Moving, NodesOverdue, Signalled
from launcher.supervisor.policy import Policy, State


@dataclass
class NodePolicy(Policy):
    """The policy of one node. `plan.nodes` must say which."""

    _is_killing: bool = False  # some node kills without waiting for the grace
    _nodes: set[int] = field(default_factory=set)  # nodes linked to this one that have not ended
    _busy_nodes: set[int] = field(default_factory=set)  # the ones of them that have yet to finish
    _quiet: dict[str, float] = field(default_factory=dict)  # on this node: component ("" for the run) -> seconds
    _quiet_nodes: dict[int, dict[str, float]] = field(default_factory=dict)  # the same on the other nodes
    _is_alone: bool = False  # no process is alive here, and we wait for other nodes

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.plan.nodes is not None
        self._here = self.plan.nodes.rank
        self._nodes |= set(self.plan.nodes.peers)
        self._busy_nodes |= {node for node in self._nodes if self.plan.nodes.finishes(node)}

    def _decide(self, event: Event) -> list[Action]:
        match event:
            case Moving(component):
                self._quiet.pop(component, None)
                return []
            case Reported(node, report):
                return self._on_report(node, report)
            case Lost(node, why):
                return self._on_loss(node, why)
            case NodesOverdue():
                self._nodes.clear()
                return self._when_empty()
        return super()._decide(event)

    def report(self) -> Report:
        """This node's state, for the others."""
        is_last_to_end = self._here != 0 or not self._nodes
        return Report(
            state=self.state.value,
            signal=self.ended_by,
            stopped_by=self.stopped_by,
            culprit=self._named(self.culprit) if self.culprit else None,
            done=not (self._starting or super()._unfinished()),
            kill=self._is_killing,
            ended=self._has_ended() and is_last_to_end,
            quiet=tuple(sorted(self._quiet.items())),
        )

    # --- events of other nodes ---

    def _on_report(self, node: int, report: Report) -> list[Action]:
        if report.failure:
            self.told[node] = report.failure
        if report.ended:
            self._nodes.discard(node)
        self._quiet_nodes[node] = dict(report.quiet)
        actions = self._follow(node, report) or self._when_all_are_quiet()
        if report.kill and not self._is_killing:
            self._is_killing = True
            actions.append(self._kill())
        return [*actions, *self._when_empty()]

    def _follow(self, node: int, report: Report) -> list[Action]:
        """The run has ended there: end it here for the same reason."""
        if self._is_ending():
            return []
        if report.state == "failed":
            return self._fail(report.culprit or Culprit(f"node {node}", "failed", node=node))
        if report.state == "stopped":
            self.ended_by = signal.Signals(report.signal) if report.signal else None
            by = self.ended_by.name if self.ended_by else "somebody"
            self.stopped_by = _on_node(node, report.stopped_by)
            return self._stop(State.STOPPED, self.stopped_by or f"node {node} was stopped by {by}")
        if report.state == "finished" and node == 0:
            return self._stop(State.FINISHED, "the run has finished")
        if report.done and node in self._busy_nodes and self._here == 0:
            self._busy_nodes.discard(node)
            return self._when_one_has_finished()
        return []

    def _on_loss(self, node: int, why: str) -> list[Action]:
        if node not in self._nodes:
            return []
        self._nodes.discard(node)
        return self._when_empty() if self._is_ending() else self._fail(Culprit(f"node {node}", why, node=node))

    # --- overrides ---

    def _on_quiet(self, component: str, seconds: float) -> list[Action]:
        self._quiet[component] = seconds
        return self._when_all_are_quiet()

    def _when_all_are_quiet(self) -> list[Action]:
        """A component is quiet only if it is quiet on all its nodes: often it logs on one alone. Node 0 hears all."""
        if self._here != 0 or self.state is not State.RUNNING:
            return []
        everywhere = {**self._quiet_nodes, self._here: self._quiet}
        for component, seconds in {name: its for quiet in everywhere.values() for name, its in quiet.items()}.items():
            if all(component in everywhere.get(node, {}) for node in self._nodes_of(component)):
                return super()._on_quiet(component, seconds)
        return []

    def _nodes_of(self, component: str) -> list[int]:
        """The nodes that have not ended and run the component; without a component, all that have not ended."""
        nodes, here = self.plan.nodes, self._here
        assert nodes is not None
        return [node for node in sorted({here} | self._nodes) if not component or nodes.runs(component, node)]

    def _unfinished(self) -> set[str]:
        return super()._unfinished() | {f"node {node}" for node in self._busy_nodes}

    def _on_signal(self, event: Signalled) -> list[Action]:
        actions = super()._on_signal(event)
        self._is_killing = self._is_killing or Kill() in actions
        return actions

    def _when_empty(self) -> list[Action]:
        if not self._nodes or not self._has_ended():
            return super()._when_empty()
        if self._is_alone:
            return []
        self._is_alone = True
        return [AwaitNodes()]

    def _named(self, culprit: Culprit) -> Culprit:
        """A culprit of this node, with the node's rank for the others."""
        if culprit.node is not None:
            return culprit
        spec = self.plan.process(culprit.component)
        first = spec.ranks.first if spec and spec.ranks else 0
        return replace(culprit, node=self._here, rank=None if culprit.rank is None else first + culprit.rank)


def _on_node(node: int, stopped_by: str | None) -> str | None:
    """Who stopped the run, with the node: node 0 also passes on reports of other nodes."""
    if stopped_by is None or " on node " in stopped_by:
        return stopped_by
    return f"{stopped_by} on node {node}"
