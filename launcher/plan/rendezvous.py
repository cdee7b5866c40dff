"""Which nodes a run has and where they meet: what `--nnodes`, `--node-rank`, `--rdzv-endpoint` and srun say."""

from dataclasses import dataclass, replace

from launcher.borders.values import MOST_PORT, whole_number
from launcher.config.run import Config, RLConfig
from launcher.config.torchrun import C10D, C10D_PORT, HOST, NOWHERE, STATIC, TORCHRUN_PORT, TorchrunConfig
from launcher.errors import UserError
from launcher.numbers import plural
from launcher.plan.nodes import Nodes
from launcher.plan.torchrun import between_nodes

MOST_SPARES = 2  # this many for each node are a mistake


@dataclass(frozen=True)
class Step:
    """What `srun` says of the job step that this launch is a task of."""

    node: int  # this task's node, counted from 0
    nodes: int
    tasks: int


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
    if count == 1 and settings.node_rank:
        what = f"--node-rank {settings.node_rank}: the run has one node, whose rank is 0"
        raise UserError(what, "add --nnodes N, the number of all nodes")
    if ":" in settings.nnodes and config.max_restarts:
        raise UserError(
            f"--max-restarts {config.max_restarts}: with a range of nodes, each launch would begin an attempt alone",
            f"--trainer.torchrun.max-restarts {config.max_restarts} is torchrun's, for the ranks of all nodes",
        )
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
    host, number = _parts(endpoint, TORCHRUN_PORT)
    if not number or number >= MOST_PORT:
        hint = f"name node 0 and a port; this port and the next must be free there: HOST:{TORCHRUN_PORT}"
        raise UserError(_malformed(endpoint), hint)
    return host, number


def _parts(endpoint: str, default_port: int | None) -> tuple[str, int | None]:
    """Host and port; no port if there is none, or it is no number. Raises UserError if there is no host."""
    host, colon, typed = endpoint.rpartition(":")
    if not colon or host.endswith(":"):
        host, typed = endpoint, "" if default_port is None else str(default_port)
    host = host.strip("[]")
    if not HOST.fullmatch(host):
        raise UserError(_malformed(endpoint), f"name node 0 and a port of it: HOST:{TORCHRUN_PORT}")
    return host, whole_number(typed, MOST_PORT)


def _malformed(endpoint: str) -> str:
    return f"--rdzv-endpoint {endpoint or repr(endpoint)}: not of the form HOST:PORT"


def rendezvous_ports(config: Config, nodes: Nodes | None) -> dict[int, str]:
    """The ports that this node's rendezvous takes, and what has named them. Raises UserError for a bad endpoint.

    Where torchrun numbers the nodes, each may be the one that is named.
    """
    settings = config.trainer.torchrun
    named = _naming(settings)
    if nodes is not None:
        is_known = nodes.rank == 0 and nodes.port
        ours = f"{named} (the launches meet on the next port)"
        return {nodes.port: named, nodes.control_port: ours} if is_known else {}
    port = None if config.trainer.command is not None else _port_alone(settings)
    return {port: named} if port else {}


def _naming(settings: TorchrunConfig) -> str:
    if settings.rdzv_endpoint != NOWHERE:
        return f"--rdzv-endpoint {settings.rdzv_endpoint}"
    flags = {"--master-port": settings.master_port, "--master-addr": settings.master_addr}
    return next((f"{flag} {value}" for flag, value in flags.items() if value is not None), "the rendezvous")


def _port_alone(settings: TorchrunConfig) -> int | None:
    """torchrun's port where no launch knows of other nodes. None for a free one, and for one elsewhere, as of etcd."""
    settings = between_nodes(settings, None)
    default = {STATIC: None, C10D: C10D_PORT}
    if settings.rdzv_backend not in default or "store_type" in (settings.rdzv_conf or ""):
        return None
    _, port = _parts(settings.rdzv_endpoint, default[settings.rdzv_backend])
    if port is None or (port == 0 and settings.rdzv_backend == STATIC):
        raise UserError(_malformed(settings.rdzv_endpoint), f"name node 0 and a port of it: HOST:{TORCHRUN_PORT}")
    return port


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
