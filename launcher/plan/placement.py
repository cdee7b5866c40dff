"""Which component gets which GPUs: first the trainer, then inference (or the other way round), then the services."""

from collections.abc import Mapping
from dataclasses import dataclass

from launcher.config.component import NprocWord, ServiceConfig
from launcher.errors import UserError
from launcher.numbers import plural


@dataclass(frozen=True)
class Server:
    """The request of the inference servers for GPUs."""

    gpus: int  # for all replicas together
    may_share: bool  # use the trainer's GPUs if there are too few
    is_reference: bool
    replicas: int = 1
    comes_first: bool = False  # before the trainer, if there are enough for both


@dataclass(frozen=True)
class Placement:
    nproc: int  # trainer ranks on this node
    trainer: tuple[str, ...] = ()
    inference: tuple[str, ...] = ()  # one replica's, then the next one's; several may share one
    services: tuple[tuple[str, tuple[str, ...]], ...] = ()
    notes: tuple[str, ...] = ()

    def service(self, name: str) -> tuple[str, ...]:
        return dict(self.services).get(name, ())

    def replica(self, number: int, replicas: int) -> tuple[str, ...]:
        """The GPUs of one inference server."""
        each = len(self.inference) // replicas
        return self.inference[number * each : (number + 1) * each]


def place_servers_alone(gpus: tuple[str, ...], replicas: int) -> Placement:
    """All GPUs of a node for inference only. Raises UserError if the servers cannot have equal shares."""
    if len(gpus) % replicas:
        divisors = [str(number) for number in range(1, len(gpus) + 1) if len(gpus) % number == 0]
        what = f"--inference.replicas {replicas}: {_count(gpus)} cannot be divided among as many servers"
        raise UserError(what, f"allowed here: {', '.join(divisors)}")
    return Placement(0, inference=gpus)


def place(
    gpus: tuple[str, ...],
    nproc: int | NprocWord | None,
    server: Server | None,
    services: Mapping[str, ServiceConfig],
    cpus: int = 1,
) -> Placement:
    """Divide the visible GPUs.

    Without GPUs any number of ranks runs on the CPU. Raises UserError when there are too few GPUs.
    """
    if nproc == "gpu" and not gpus:
        raise UserError("--nproc gpu: there is no GPU here", "--nproc cpu, or a number: the ranks then run on the CPU")
    count = nproc if isinstance(nproc, int) else None
    if not gpus:
        return Placement(count or (1 if nproc is None else cpus))
    own = {name: service.gpus for name, service in services.items() if not service.share_gpus}
    wanted = (server.gpus if server else 0) + sum(own.values())
    ranks = 0 if nproc == "cpu" else count or max(1, len(gpus) - wanted)
    if ranks > len(gpus):
        raise UserError(f"--nproc {ranks}: there {_are(gpus)}", f"--nproc can be 1 to {len(gpus)}")
    before = server.gpus if server and server.comes_first and server.gpus + ranks <= len(gpus) else 0
    trainer, left = gpus[before : before + ranks], gpus[:before] + gpus[before + ranks :]
    inference, left, notes = _place_server(gpus, left, server)
    placed = []
    for name, service in services.items():
        if service.share_gpus:
            placed.append((name, _shared(name, service.gpus, trainer)))
            continue
        if service.gpus > len(left):
            what = f"services.{name}.gpus = {service.gpus}, and the others leave {len(left)} of {_count(gpus)}"
            raise UserError(what, f"lower --nproc, or let it use the trainer's with --services.{name}.share-gpus")
        placed.append((name, left[: service.gpus]))
        left = left[service.gpus :]
    return Placement(ranks or cpus, trainer, inference, tuple(placed), notes)


def _shared(name: str, count: int, trainer: tuple[str, ...]) -> tuple[str, ...]:
    """The GPUs of a service that has none of its own."""
    if count > len(trainer):
        what = f"services.{name}.gpus = {count} with share_gpus, and the trainer has {_count(trainer)}"
        raise UserError(what, f"leave services.{name}.gpus out: it then uses all of the trainer's")
    return trainer[-count:]  # of a count of 0, all


def _place_server(
    gpus: tuple[str, ...], left: tuple[str, ...], server: Server | None
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(the server's GPUs, the free GPUs, notes)."""
    if server is None or server.gpus == 0:
        return (), left, ()
    if server.gpus <= len(left):
        return left[: server.gpus], left[server.gpus :], ()
    if not (server.is_reference or server.may_share):
        raise UserError(
            f"inference.gpus = {server.gpus}, and the trainer leaves {len(left)} of {_count(gpus)}",
            "lower --nproc, or let it use the trainer's GPUs with --inference.share-gpus",
        )
    shared = gpus[-min(server.gpus, len(gpus)) :]
    size = min(server.gpus // server.replicas, len(shared)) * server.replicas
    given = tuple(shared[at % len(shared)] for at in range(size))
    return given, (), (f"inference shares GPU {','.join(shared)} with the trainer: there {_are(gpus)}",)


def _are(gpus: tuple[str, ...]) -> str:
    return f"{'is' if len(gpus) == 1 else 'are'} {_count(gpus)}"


def _count(gpus: tuple[str, ...]) -> str:
    return plural(len(gpus), "GPU")
