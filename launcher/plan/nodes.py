"""A run on several nodes: which node runs which component, and where the nodes meet."""

from dataclasses import dataclass

from launcher.borders.values import MOST_PORT, whole_number
from launcher.config.run import RLConfig, SFTConfig
from launcher.config.torchrun import NOWHERE
from launcher.errors import UserError

Config = SFTConfig | RLConfig
TORCHRUN_PORT = 29500  # torchrun's default port of an endpoint


@dataclass(frozen=True)
class Nodes:
    """All nodes of a run, seen from one of them. The trainer's nodes come first, then those of inference.

    Every other node's launch is connected to the launch of node 0. `hosts` and `inference_ports` are empty until all
    nodes have joined.
    """

    rank: int  # of this node
    trainer: int  # number of the trainer's nodes
    inference: int  # number of nodes for inference only; 0: it runs on node 0
    host: str  # of node 0, the meeting point
    port: int  # torchrun's; the launches use the next one
    orchestrator: int = 0  # the node that it runs on
    hosts: tuple[str, ...] = ()  # where each node can be reached
    inference_ports: tuple[int, ...] = ()  # for each node; 0 where no server runs

    @property
    def count(self) -> int:
        return self.trainer + self.inference

    @property
    def control_port(self) -> int:
        """The port on which the launch of node 0 listens for the others."""
        return self.port + 1

    @property
    def peers(self) -> tuple[int, ...]:
        """The nodes to whose launch this node's launch is connected."""
        return tuple(range(1, self.count)) if self.rank == 0 else (0,)

    def runs(self, component: str, node: int | None = None) -> bool:
        """Whether the component runs on a node, by default this one. Services run on node 0."""
        node = self.rank if node is None else node
        if component == "trainer":
            return node < self.trainer
        if component == "orchestrator":
            return node == self.orchestrator
        if component == "inference" and self.inference:
            return node >= self.trainer
        return node == 0

    def finishes(self, node: int) -> bool:
        """Whether the node runs a component that must finish before the run does."""
        return node == 0 or self.runs("trainer", node) or self.runs("orchestrator", node)

    @property
    def servers(self) -> tuple[int, ...]:
        """The nodes that run an inference server."""
        return tuple(node for node in range(self.count) if self.runs("inference", node))


def node_count(config: Config) -> int:
    """The number of nodes in the configuration, for trainer and inference. The upper end of a range counts."""
    typed = config.trainer.torchrun.nnodes
    return int(typed.rpartition(":")[2]) + _inference_nodes(config)


def plan_nodes(config: Config) -> Nodes | None:
    """The nodes of the configuration. None for one node, and for a range, which torchrun handles.

    Raises UserError if this node's rank or the meeting point is missing.
    """
    count, settings = node_count(config), config.trainer.torchrun
    if count == 1 or ":" in settings.nnodes:
        return None
    where = None if settings.rdzv_endpoint == NOWHERE else settings.rdzv_endpoint
    given = {"--node-rank": settings.node_rank, "--rdzv-endpoint": where}
    missing = [flag for flag, value in given.items() if value is None]
    if missing:
        raise UserError(
            f"a run on {count} nodes needs {' and '.join(missing)}",
            "on each node, type the same command with its own --node-rank, from 0, and the same "
            f"--rdzv-endpoint HOST:{TORCHRUN_PORT}, where HOST is node 0; or submit it with --slurm",
        )
    assert settings.node_rank is not None
    host, port = _host_and_port(settings.rdzv_endpoint)
    return nodes_at(config, settings.node_rank, host, port)


def nodes_at(config: Config, rank: int, host: str, port: int) -> Nodes:
    """The nodes of the configuration, seen from one of them. Raises UserError."""
    inference = _inference_nodes(config)
    trainer = node_count(config) - inference
    beside_inference = isinstance(config, RLConfig) and config.orchestrator.beside == "inference"
    nodes = Nodes(rank, trainer, inference, host, port, trainer if beside_inference and inference else 0)
    _check(config, nodes)
    return nodes


def _inference_nodes(config: Config) -> int:
    return config.inference.nodes if isinstance(config, RLConfig) and config.inference.enabled else 0


def _host_and_port(endpoint: str) -> tuple[str, int]:
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
    if nodes.rank >= nodes.count:
        raise UserError(f"--node-rank {nodes.rank}: there are {nodes.count} nodes", f"allowed: 0 to {nodes.count - 1}")
    if config.max_restarts:
        raise UserError(
            "--max-restarts is for one node",
            "type launch resume RUN on each node after a failure, or use --slurm.requeue",
        )
    if config.trainer.command is not None:
        raise UserError("trainer.command runs without torchrun, on one node", "name a module or a script instead")


def url_host(host: str) -> str:
    """The host as it is written before a port: [::1], gpu01."""
    return f"[{host}]" if ":" in host else host
