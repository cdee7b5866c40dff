"""Checks what this machine has and lacks for a run."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from launcher.doctor import machine_checks as machine
from launcher.doctor import software_checks as software
from launcher.doctor.check import Check

CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    machine.check_platform,
    software.check_torch,
    software.check_installation,
    machine.check_gpus,
    machine.check_shared_memory,
    machine.check_disk,
    machine.check_open_files,
    software.check_environment,
    software.check_port,
    software.check_wandb,
    software.check_slurm,
    machine.check_logout,
    software.check_pyspy,
)


def examine(more: Sequence[Callable[[], Iterator[Check]]] = ()) -> list[Check]:
    """All checks, and `more`, at the same time. The import of torch takes longest: see TORCH_SECONDS."""
    checks = (*CHECKS, *more)
    with ThreadPoolExecutor(len(checks)) as pool:
        return [check for found in pool.map(lambda examined: list(examined()), checks) for check in found]
