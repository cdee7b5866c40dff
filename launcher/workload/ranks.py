"""torchrun's ranks: gloo between CPUs, nccl between GPUs, and nothing at all for a process that was started alone."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import _set_pg_timeout  # torch has no public name for it
from torch.distributed.elastic.multiprocessing.errors import ErrorHandler, record

from launcher.config.workload import Device
from launcher.errors import UserError
from launcher.instrumentation.marks import mark
from launcher.instrumentation.waiting import waiting_for

P = ParamSpec("P")
T = TypeVar("T")

MAKES_WITHIN = 86_400.0  # seconds

_kept: list[object] = []
"""The process group lives as long as the process. When it goes, it waits for gloo's threads with the interpreter's lock
in its hand, and one of them that is just letting go of a tensor waits for that lock: the rank never ends."""


@dataclass(frozen=True)
class World:
    """All ranks of the trainer, seen from one of them."""

    rank: int
    count: int
    device: torch.device
    timeout: float = 600.0  # seconds that a rank waits for the others

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def from_first(self, make: Callable[[], T], within: float = MAKES_WITHIN) -> T:
        """What `make` gives on the first rank, which alone may have the file that it reads; a UserError on all.

        The others wait for `within` seconds: by default as long as a download takes, or the tokens of a few GB. If the
        first rank dies, they end.
        """
        if self.count == 1:
            return make()
        values: list[T | UserError | None] = [_made_or_refused(make) if self.is_first else None]
        _set_pg_timeout(timedelta(seconds=within))
        dist.broadcast_object_list(values, src=0, device=self.device)
        _set_pg_timeout(timedelta(seconds=self.timeout))
        if isinstance(values[0], UserError):
            raise values[0]
        return cast(T, values[0])

    def highest(self, value: int) -> int:
        """The highest of the ranks' values; every rank waits here for all others."""
        if self.count == 1:
            return value
        values = torch.tensor(value, device=self.device)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return int(values)


def _made_or_refused(make: Callable[[], T]) -> T | UserError:
    try:
        return make()
    except UserError as error:
        return error


@contextmanager
def join_ranks(device: Device, timeout: float) -> Iterator[World]:
    """Meet the other ranks that torchrun has started; without torchrun there is one rank.

    `timeout` (seconds) is how long a rank waits for the others. Raises UserError when there is no such device.
    """
    chosen = pick_device(device)
    rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if count > 1:
        with waiting_for(f"the other {count - 1} ranks"):
            dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=timedelta(seconds=timeout))
            _kept.append(dist.group.WORLD)
        mark("rendezvous")
    yield World(rank, count, chosen, timeout)
    # not after an error: the others may be anywhere, and the exit of the process tells them
    if count > 1:
        dist.destroy_process_group()


def pick_device(name: Device) -> torch.device:
    """The device of this process, of several GPUs the one that torchrun's local rank names."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("model.device is cuda, and torch sees no GPU here", "allowed: auto, cpu")
    if name == "cpu" or not torch.cuda.is_available():
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(1)  # the model is too small for more, and the run's other processes compute too
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


class _Errors(ErrorHandler):
    """What torchrun is told of a rank's end. No stack explains a wrong request: of a UserError it gets the words."""

    def record_exception(self, e: BaseException) -> None:
        file = self._get_error_file_path()
        if file is None or not isinstance(e, UserError):
            super().record_exception(e)
            return
        about = {"message": str(e), "extraInfo": {"timestamp": str(int(time.time()))}}
        Path(file).write_text(json.dumps({"message": about}))


def recorded(main: Callable[P, T]) -> Callable[P, T | None]:
    """Decorates what a rank does: torchrun is told how it has ended."""
    return record(main, _Errors())
