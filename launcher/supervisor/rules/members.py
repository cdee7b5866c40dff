"""The other nodes of a run, as they report themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from launcher.nodes.messages import Report
from launcher.plan.nodes import Nodes


@dataclass
class Members:
    """What one node knows of the others. Node 0 hears every other node, and each of them hears node 0 alone."""

    living: set[int] = field(default_factory=set)  # linked to this node, and have not ended
    busy: set[int] = field(default_factory=set)  # the ones of them that have yet to finish
    newest: dict[int, Report] = field(default_factory=dict)  # the last report of each
    quiet: dict[int, dict[str, float]] = field(default_factory=dict)  # by node: component ("" for the run) -> seconds

    def begin(self, nodes: Nodes) -> None:
        """An attempt begins on these nodes."""
        self.busy = {node for node in self.living if nodes.finishes(node)}
        self.quiet.clear()

    def hear(self, node: int, report: Report, is_old: bool) -> None:
        """A report; an old one is about an earlier attempt."""
        if report.ended:
            self.living.discard(node)
        self.newest[node] = report
        self.quiet[node] = {} if is_old else dict(report.quiet)

    def lose(self, node: int) -> None:
        for known in self.living, self.busy:
            known.discard(node)
        for known_of in self.newest, self.quiet:
            known_of.pop(node, None)

    def not_over(self, attempt: int) -> list[int]:
        """The nodes that have not ended this attempt, which has failed."""
        return [node for node in sorted(self.living) if not self._is_over(node, attempt)]

    def _is_over(self, node: int, attempt: int) -> bool:
        report = self.newest.get(node)
        return report is not None and report.over and report.attempt == attempt

    def quiet_everywhere(self, nodes: Nodes, here: Mapping[str, float]) -> tuple[str, float] | None:
        """A component that is quiet on all its nodes, and for how many seconds. Often a component logs on one alone."""
        everywhere: dict[int, Mapping[str, float]] = {**self.quiet, nodes.rank: here}
        for component, seconds in {name: its for quiet in everywhere.values() for name, its in quiet.items()}.items():
            if all(component in everywhere.get(node, {}) for node in self._nodes_of(component, nodes)):
                return component, seconds
        return None

    def _nodes_of(self, component: str, nodes: Nodes) -> list[int]:
        """The nodes that have not ended and run the component; without a component, all that have not ended."""
        return [node for node in {nodes.rank} | self.living if not component or nodes.runs(component, node)]
