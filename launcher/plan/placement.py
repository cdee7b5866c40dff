"""Which component gets which GPUs: first the trainer, then inference, then the services."""

from collections.abc import Mapping
from dataclasses import dataclass

from launcher.config.component import NprocWord
from launcher.errors import UserError
from launcher.numbers import plural


@dataclass(frozen=True)
class Server:
    """The inference server's request for GPUs."""

    gpus: int
    may_share: bool  # use the trainer's GPUs if there are too few
    is_reference: bool


@dataclass(frozen=True)
class Placement:
    nproc: int  # trainer ranks on this node
    trainer: tuple[str, ...] = ()
    inference: tuple[str, ...] = ()
    services: tuple[tuple[str, tuple[str, ...]], ...] = ()
    notes: tuple[str, ...] = ()

    def service(self, name: str) -> tuple[str, ...]:
        return dict(self.services).get(name, ())


def place(
    gpus: tuple[str, ...],
    nproc: int | NprocWord | None,
    server: Server | None,
    services: Mapping[str, int],
    cpus: int = 1,
) -> Placement:
    """Divide the visible GPUs. `services` maps a service's name to the number of GPUs it asks for.

    Without GPUs any number of ranks runs on the CPU. Raises UserError when there are too few GPUs.
    """
    if nproc == "gpu" and not gpus:
        raise UserError("--nproc gpu: there is no GPU here", "--nproc cpu, or a number: the ranks then run on the CPU")
    count = nproc if isinstance(nproc, int) else None
    if not gpus:
        return Placement(count or (1 if nproc is None else cpus))
    wanted = (server.gpus if server else 0) + sum(services.values())
    ranks = 0 if nproc == "cpu" else count or max(1, len(gpus) - wanted)
    if ranks > len(gpus):
        raise UserError(f"--nproc {ranks}: there {_are(gpus)}", f"--nproc can be 1 to {len(gpus)}")
    left = gpus[ranks:]
    inference, left, notes = _place_server(gpus, left, server)
    placed = []
    for name, count in services.items():
        if count > len(left):
            what = f"services.{name}.gpus = {count}, and the others leave {len(left)} of {_count(gpus)}"
            raise UserError(what, "lower --nproc")
        placed.append((name, left[:count]))
        left = left[count:]
    return Placement(ranks or cpus, gpus[:ranks], inference, tuple(placed), notes)


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
    return shared, (), (f"inference shares GPU {','.join(shared)} with the trainer: there {_are(gpus)}",)


def _are(gpus: tuple[str, ...]) -> str:
    return f"{'is' if len(gpus) == 1 else 'are'} {_count(gpus)}"


def _count(gpus: tuple[str, ...]) -> str:
    return plural(len(gpus), "GPU")
