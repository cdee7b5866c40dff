"""Checks what this machine has and lacks for a run."""

from collections.abc import Callable, Iterator
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


def examine() -> list[Check]:
    """All checks, in parallel. The import of torch takes longest, a second or two."""
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        return [check for found in pool.map(lambda examined: list(examined()), CHECKS) for check in found]
