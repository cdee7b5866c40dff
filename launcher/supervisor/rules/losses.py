"""What node 0 knows of nodes that are lost, and of those that wait to take their places."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from launcher.numbers import plural
from launcher.plan.nodes import Nodes


@dataclass
class Losses:
    """Node 0's account. The others learn from node 0 which nodes are gone, and what the next attempt runs on."""

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
