"""torchrun's command line, made without importing torch."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from launcher.config.torchrun import C10D, NOWHERE, STATIC, TORCHRUN_PORT, TorchrunConfig
from launcher.errors import UserError
from launcher.plan.nodes import Nodes, url_host
from launcher.plan.ready import LOG
from launcher.plan.spec import ProcessSpec, Ranks
from launcher.rundir import RunDir

PLANNED = frozenset({"rdzv_id", "log_dir", "local_ranks_filter"})  # settings whose flag gets its value from the plan
WITHIN = frozenset({"master_addr", "master_port", "standalone"})  # the rendezvous that the plan passes on says it


def torchrun_argv(python: str, config: TorchrunConfig, ranks: Ranks, program: tuple[str, ...]) -> tuple[str, ...]:
    """`python -m torch.distributed.run …`, the same as `torchrun`. `program` is the ranks' command.

    `config` must be complete, see `between_nodes`.
    """
    argv = [python, "-m", "torch.distributed.run", f"--nproc-per-node={ranks.count}"]
    argv += [f"--rdzv-id={ranks.directory.name}", f"--log-dir={ranks.directory.parent}"]
    argv += [f"--local-ranks-filter={','.join(map(str, ranks.shown))}"]
    for name in type(config).model_fields:
        value, flag = getattr(config, name), f"--{name.replace('_', '-')}"
        if name in PLANNED | WITHIN or value is None or value is False:
            continue
        argv.append(flag if value is True else f"{flag}={value}")
    return (*argv, *_apart(program))


def _apart(program: tuple[str, ...]) -> tuple[str, ...]:
    """The program, behind `--` if it has options: Python 3.11's argparse takes the --nproc of `train.py --nproc 8`."""
    module, rest = (program[:1], program[1:]) if program[0] == "-m" else ((), program)
    return (*module, "--", *rest) if any(word.startswith("--") for word in rest[1:]) else program


def between_nodes(config: TorchrunConfig, nodes: Nodes | None) -> TorchrunConfig:
    """The settings, completed for the nodes.

    With c10d, torchrun numbers the nodes itself. A static rendezvous keeps the given node ranks.
    """
    if nodes is None:
        backend, endpoint = config.backend or C10D, config.endpoint
        if backend == STATIC and endpoint == NOWHERE:
            endpoint = f"127.0.0.1:{TORCHRUN_PORT}"  # as torchrun has it: this rendezvous takes no free port
        return config.model_copy(update={"rdzv_backend": backend, "rdzv_endpoint": endpoint})
    endpoint = f"{url_host(nodes.host)}:{nodes.port}"
    return config.model_copy(
        update={
            "nnodes": str(nodes.trainer),
            "node_rank": nodes.place,
            "rdzv_backend": config.backend or STATIC,
            "rdzv_endpoint": endpoint,
        }
    )


def rank_files(config: TorchrunConfig, run: RunDir, cwd: Path) -> Path:
    """torchrun's `--log-dir` on this node."""
    if config.log_dir is None:
        return run.torchrun
    return cwd / config.log_dir / ("" if run.node is None else f"node_{run.node}")


def plan_ranks(config: TorchrunConfig, nproc: int, log_dir: Path, rendezvous: str, node: int = 0) -> Ranks:
    """The ranks of a node and their files. All nodes have the same number of ranks.

    Raises UserError if the configuration names a rank that does not exist.
    """
    for rank in config.local_ranks_filter:
        _check_rank(f"--filter-rank {','.join(map(str, config.local_ranks_filter))}", rank, nproc)
    for flag in ("redirects", "tee"):
        for rank in _mapped_ranks(getattr(config, flag)):
            _check_rank(f"--{flag} {getattr(config, flag)}", rank, nproc)
    shown = config.local_ranks_filter or tuple(range(nproc))
    hidden = all(_streams(config.tee, rank) == 0 and _streams(config.redirects, rank) == 3 for rank in shown)
    in_files = tuple(rank for rank in range(nproc) if _file(config, rank) == "stdout.log")
    return Ranks(nproc, shown, log_dir / rendezvous, config.max_restarts, hidden, node * nproc, config.role, in_files)


def redirected(config: TorchrunConfig, ranks: Ranks, rank: int) -> Path | None:
    """The file with the rank's output, or at least its stderr. None if torchrun writes none."""
    name = _file(config, rank)
    return ranks.directory / "attempt_0" / str(rank) / name if name else None


def rank_logs(config: TorchrunConfig, ranks: Ranks, run: RunDir, is_reference: bool) -> tuple[Path, ...]:
    """Each rank's log: the reference trainer's own, or else the output that torchrun redirects."""
    if is_reference:
        return tuple(run.rank_log(ranks.first + rank) for rank in range(ranks.count))
    unredirected = run.component_log("trainer")
    return tuple(redirected(config, ranks, rank) or unredirected for rank in range(ranks.count))


def _file(config: TorchrunConfig, rank: int) -> str | None:
    streams = _streams(config.redirects, rank) | _streams(config.tee, rank)
    return {0: None, 2: "stderr.log"}.get(streams, "stdout.log")


def _check_rank(typed: str, rank: int, nproc: int) -> None:
    if not 0 <= rank < nproc:
        there = f"there are {nproc} ranks, 0 to {nproc - 1}" if nproc > 1 else "there is one rank, 0"
        raise UserError(f"{typed}: rank {rank} does not exist; {there}", "see --nproc")


def _mapped_ranks(streams: str) -> list[int]:
    return [int(part.split(":")[0]) for part in streams.split(",") if ":" in part]


def _streams(text: str, rank: int) -> int:
    """torchrun's bits for one rank: 1 stdout, 2 stderr, 3 both."""
    if ":" not in text:
        return int(text)
    mapped = dict(part.split(":") for part in text.split(","))
    return int(mapped.get(str(rank), "0"))


def warnings(settings: TorchrunConfig, nodes: Nodes | None, processes: Iterable[ProcessSpec]) -> Iterator[str]:
    """What the user should know of these settings. Raises UserError for a check that could never succeed."""
    if ":" in settings.nnodes:
        yield f"--nnodes {settings.nnodes} is a range: each node's launch knows only its own processes"
    elif nodes and settings.backend not in (None, STATIC):
        yield f"with {settings.backend} torchrun numbers the nodes: ranks may have different numbers here"
    elif nodes is None and settings.nnodes != "1":
        yield f"{settings.backend} numbers the nodes: each node's launch knows only its own processes"
    if nodes and nodes.from_slurm:
        yield f"node rank {nodes.rank} is SLURM_NODEID, as srun has set it"
    if nodes and nodes.is_spare and not nodes.hosts:
        yield f"node {nodes.rank} is a spare: it waits until a node is lost, and takes its place; this is node 1's plan"
    for spec in processes:
        if spec.ranks and (unused := [name for name in spec.unset if name.startswith("PET_")]):
            yield f"torchrun would take {', '.join(unused)} from the environment; launch does not: type the options"
        if spec.ranks and spec.ranks.console_is_empty:
            if spec.ready and spec.ready.startswith(LOG):
                raise UserError(f"{spec.name}.ready = {spec.ready!r}: with --tee 0 nothing reaches its log")
            where = f"each rank's output is below {spec.ranks.directory}"
            yield f"with --tee 0 the console and {spec.name}.log stay empty; {where}"
