"""A run on several nodes: which node runs which component, and where the nodes meet."""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from launcher.borders.values import MOST_PORT, whole_number
from launcher.config.run import Config, RLConfig
from launcher.config.torchrun import NOWHERE, STATIC, TORCHRUN_PORT
from launcher.errors import UserError
from launcher.numbers import plural

MOST_SPARES = 2  # this many for each node are a mistake


@dataclass(frozen=True)
class Step:
    """What `srun` says of the job step that this launch is a task of."""

    node: int  # this task's node, counted from 0
    nodes: int
    tasks: int


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
    port: int  # torchrun's; the launches use the next one
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


def node_count(config: Config) -> int:
    """The number of nodes in the configuration, for trainer and inference. The upper end of a range counts."""
    typed = config.trainer.torchrun.nnodes
    return int(typed.rpartition(":")[2]) + _inference_nodes(config)


def launch_count(config: Config) -> int:
    """The number of launches that the configuration asks for: one on each node, and on each spare."""
    return node_count(config) + config.spare_nodes


def plan_nodes(config: Config, step: Step | None = None) -> Nodes | None:
    """The nodes of the configuration. None for one node, and where torchrun numbers the nodes by itself.

    `step` has the node's rank if nobody has typed one. Raises UserError if it or the meeting point is missing.
    """
    count, settings = node_count(config), config.trainer.torchrun
    if count == 1 or ":" in settings.nnodes:
        check_no_spares(config, "one node" if count == 1 else f"a range of nodes, --nnodes {settings.nnodes}")
        return None
    rank = (
        settings.node_rank if settings.node_rank is not None or step is None else _rank_in(step, launch_count(config))
    )
    where = None if settings.endpoint == NOWHERE else settings.endpoint
    if rank is None and where and numbered_by_torchrun(config):
        if config.max_restarts:
            raise UserError(
                "--max-restarts needs --node-rank on several nodes",
                "with it the launches of all nodes begin each attempt together",
            )
        check_no_spares(config, "nodes that torchrun numbers: give each its --node-rank")
        _check_alone(config)
        return None
    missing = [flag for flag, value in {"--node-rank": rank, "--rdzv-endpoint": where}.items() if value is None]
    if missing:
        raise UserError(
            f"a run on {count} nodes needs {' and '.join(missing)}",
            "on each node, type the same command with its own --node-rank, from 0, and the same "
            f"--rdzv-endpoint HOST:{TORCHRUN_PORT}, where HOST is node 0; or submit it with --slurm or --k8s",
        )
    assert rank is not None
    host, port = host_and_port(settings.endpoint)
    return replace(nodes_at(config, rank, host, port), from_slurm=settings.node_rank is None)


def numbered_by_torchrun(config: Config) -> bool:
    """Whether torchrun numbers the nodes and each launch knows only its own: a range, or c10d without a node rank."""
    settings = config.trainer.torchrun
    if ":" in settings.nnodes:
        return True
    by_c10d = settings.node_rank is None and settings.backend not in (None, STATIC)
    return by_c10d and settings.nnodes != "1" and not isinstance(config, RLConfig)


def check_common_id(config: Config) -> None:
    """Raises UserError if the nodes that torchrun numbers would each look for a rendezvous of their own."""
    if numbered_by_torchrun(config) and config.trainer.torchrun.rdzv_id is None and config.name is None:
        raise UserError(
            "nodes that torchrun numbers find each other by the rendezvous id, and without a name each draws its own",
            "give the same --rdzv-id on all nodes, or --node-rank to each",
        )


def _rank_in(step: Step, count: int) -> int:
    """This node's rank by `srun`. Raises UserError if its nodes are not those of the run."""
    once = f"start launch once on each node: srun --nodes={count} --ntasks-per-node=1"
    if step.tasks != step.nodes:
        raise UserError(f"srun starts launch {step.tasks} times on {plural(step.nodes, 'node')}", once)
    if step.nodes != count:
        what = f"srun starts launch on {plural(step.nodes, 'node')}, and the run has {count}"
        raise UserError(what, f"{once}, or give --node-rank yourself")
    return step.node


def nodes_at(config: Config, rank: int, host: str, port: int) -> Nodes:
    """The nodes of the configuration, seen from one of them. Raises UserError."""
    inference = _inference_nodes(config)
    trainer = node_count(config) - inference
    orchestrator = config.orchestrator if isinstance(config, RLConfig) and config.orchestrator.enabled else None
    beside_inference = orchestrator is not None and orchestrator.beside == "inference"
    replicas = config.inference.replicas if isinstance(config, RLConfig) else 1
    spares, fewest = config.spare_nodes, config.min_nodes or 0
    place = trainer if beside_inference and inference else 0
    nodes = Nodes(rank, trainer, inference, host, port, place, replicas=replicas, spares=spares, fewest=fewest)
    _check(config, nodes)
    return nodes.with_places((0, rank, *range(2, nodes.count))) if nodes.is_spare else nodes


def _inference_nodes(config: Config) -> int:
    return config.inference.nodes if isinstance(config, RLConfig) and config.inference.enabled else 0


def host_and_port(endpoint: str) -> tuple[str, int]:
    """The two parts of `--rdzv-endpoint`. Raises UserError."""
    host, colon, port = endpoint.rpartition(":")
    if not colon or host.endswith(":"):
        host, port = endpoint, str(TORCHRUN_PORT)
    number = whole_number(port, MOST_PORT - 1)
    if not host or not number:
        raise UserError(
            f"--rdzv-endpoint {endpoint}: not of the form HOST:PORT",
            f"name node 0 and a port; this port and the next must be free there: HOST:{TORCHRUN_PORT}",
        )
    return host.strip("[]"), number


def _check(config: Config, nodes: Nodes) -> None:
    if nodes.rank >= nodes.launches:
        more = f" and {plural(nodes.spares, 'spare')}" if nodes.spares else ""
        allowed = f"allowed: 0 to {nodes.launches - 1}"
        raise UserError(f"--node-rank {nodes.rank}: there are {nodes.count} nodes{more}", allowed)
    _check_alone(config)
    _check_spares(config, nodes)


def check_no_spares(config: Config, what: str) -> None:
    """Raises UserError if the run should outlive the loss of a node, and cannot."""
    for flag, value in {"--spare-nodes": config.spare_nodes, "--min-nodes": config.min_nodes}.items():
        if value:
            raise UserError(f"{flag} {value}: the run has {what}", "it is for runs on several nodes, see docs/nodes.md")


def _check_spares(config: Config, nodes: Nodes) -> None:
    for flag, value in {"--spare-nodes": nodes.spares, "--min-nodes": nodes.fewest}.items():
        if value and not config.max_restarts:
            hint = "a lost node ends the attempt, and the next one is a restart: add --max-restarts N"
            raise UserError(f"{flag} {value} needs --max-restarts", hint)
    if nodes.spares >= MOST_SPARES * nodes.count:
        hint = f"a spare takes the place of one lost node: allowed are fewer than {MOST_SPARES * nodes.count}"
        raise UserError(f"--spare-nodes {nodes.spares} for {plural(nodes.count, 'node')}", hint)
    if nodes.fewest > nodes.trainer:
        trainers = plural(nodes.trainer, "node")
        raise UserError(f"--min-nodes {nodes.fewest}: the trainer has {trainers}", f"allowed: 1 to {nodes.trainer}")


def _check_alone(config: Config) -> None:
    """Raises UserError for what only a run on one node can do."""
    if config.trainer.command is not None:
        raise UserError("trainer.command runs without torchrun, on one node", "name a module or a script instead")


def url_host(host: str) -> str:
    """The host as it is written before a port: [::1], gpu01."""
    return f"[{host}]" if ":" in host else host
