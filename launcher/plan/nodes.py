"""A run on several nodes: which node runs which component, seen from one of them."""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from launcher.numbers import plural


@dataclass(frozen=True)
class Nodes:
    """All nodes of a run, seen from one of them.

    Every launch has a node rank, which also names its files. The run has `count` places: the trainer's come first, then
    those of inference. Node N is in place N, until a spare has taken the place of a lost node. Node 0 is always in
    place 0, and every other node's launch is connected to its launch. `hosts` and `inference_ports` are empty until all
    have joined.
    """

    rank: int  # of this node
    trainer: int  # number of the trainer's nodes
    inference: int  # number of nodes for inference only; 0: it runs on node 0
    host: str  # of node 0, the meeting point
    port: int  # torchrun's; the launches use the next one. 0: only the job knows it
    orchestrator: int = 0  # the place that it runs in
    hosts: tuple[str, ...] = ()  # where each node can be reached, spares included
    inference_ports: tuple[int, ...] = ()  # for each node that of its first server; 0 where none runs
    replicas: int = 1  # servers on a node that has any
    from_slurm: bool = False  # the rank is SLURM_NODEID
    spares: int = 0  # nodes that wait; their ranks come after those of all places
    fewest: int = 0  # how few nodes of the trainer are enough; 0: none of them can be left out
    held: tuple[int, ...] = ()  # the node in each place; empty: each in its own

    @property
    def count(self) -> int:
        return self.trainer + self.inference

    @property
    def launches(self) -> int:
        """The number of launches that meet, spares included."""
        return len(self.hosts) or self.count + self.spares

    @property
    def places(self) -> tuple[int, ...]:
        """The node in each place."""
        return self.held or tuple(range(self.count))

    @property
    def place(self) -> int:
        """This node's place: torchrun's node rank."""
        return self.places.index(self.rank)

    @property
    def waiting(self) -> tuple[int, ...]:
        """The spares that have taken no place."""
        return tuple(node for node in range(self.launches - self.spares, self.launches) if node not in self.places)

    @property
    def text(self) -> str:
        """ "node 0 of 2", "node 2 in place 1 of 2"."""
        has_moved = self.held and self.place != self.rank
        return f"node {self.rank} in place {self.place} of {self.count}" if has_moved else self._own_text

    @property
    def _own_text(self) -> str:
        return f"node {self.rank} of {self.count}" + (f" and {plural(self.spares, 'spare')}" if self.spares else "")

    @property
    def is_spare(self) -> bool:
        """At the start of a run: whether this node waits until another one is lost. It plans as if that were node 1."""
        return self.rank >= self.count

    def place_planned_by(self, node: int) -> int:
        """At the start of a run: the place that a node makes its plan for."""
        return node if node < self.count else 1

    def can_be_in(self, places: tuple[int, ...]) -> bool:
        """Whether node 0 can have given these places: it is not believed when it names others."""
        has_known = set(places) <= set(range(self.launches)) and places[:1] == (0,)
        return has_known and len(set(places)) == len(places) and self.inference < len(places) <= self.count

    def with_places(self, places: tuple[int, ...]) -> "Nodes":
        """The same nodes in other places. If there are fewer places, the trainer has lost them."""
        fewer = self.count - len(places)
        moved = self.orchestrator - fewer if self.orchestrator else 0
        return replace(self, held=places, trainer=self.trainer - fewer, orchestrator=moved)

    def without(self, lost: Collection[int], spares: Collection[int]) -> "Nodes | None":
        """What the next attempt runs on: a spare in the place of each lost node, or fewer places. None: it cannot."""
        places, free, trainer = list(self.places), sorted(spares), self.trainer
        for node in (node for node in self.places if node in lost):
            if free:
                places[places.index(node)] = free.pop(0)
            elif self.runs("trainer", node) and 0 < self.fewest < trainer:
                places.remove(node)
                trainer -= 1
            else:
                return None
        return self.with_places(tuple(places)) if tuple(places) != self.places else self

    @property
    def control_port(self) -> int:
        """The port on which the launch of node 0 listens for the others."""
        return self.port + 1

    @property
    def peers(self) -> tuple[int, ...]:
        """The nodes to whose launch this node's launch is connected."""
        return self.places[1:] if self.rank == 0 else (0,)

    def runs(self, component: str, node: int | None = None) -> bool:
        """Whether the component runs on a node, by default this one. Services run on node 0."""
        node = self.rank if node is None else node
        if node not in self.places:  # lost, or a spare
            return False
        place = self.places.index(node)
        if component == "trainer":
            return place < self.trainer
        if component == "orchestrator":
            return place == self.orchestrator
        if self.inference and re.fullmatch(r"inference(-\d+)?", component):  # its replicas have numbers
            return place >= self.trainer
        return place == 0

    @property
    def may_serve(self) -> bool:
        """At the start of a run: whether an inference server runs on this node, or may have to later."""
        return self.runs("inference") or (self.is_spare and self.inference > 0)

    def finishes(self, node: int) -> bool:
        """Whether the node runs a component that must finish before the run does."""
        return node == 0 or self.runs("trainer", node) or self.runs("orchestrator", node)

    @property
    def servers(self) -> tuple[int, ...]:
        """The nodes that run an inference server."""
        return tuple(node for node in self.places if self.runs("inference", node))


def url_host(host: str) -> str:
    """The host as it is written before a port: [::1], gpu01."""
    return f"[{host}]" if ":" in host else host
