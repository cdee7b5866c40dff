"""CPU, memory and GPU memory that processes use."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from launcher.machine.gpus import gpu_processes
from launcher.processes.process_tree import descendants

SAMPLE = 0.2  # seconds over which CPU time is measured


@dataclass(frozen=True)
class Usage:
    cpu: float  # percent of one core
    memory: int  # bytes, resident; shared memory counts for each process
    gpu_memory: int | None  # bytes; None without GPU use


def with_descendants(pid: int) -> list[int]:
    return [pid, *descendants(pid)]


def measure(groups: Mapping[int, Sequence[int]]) -> dict[int, Usage]:
    """The usage of each group of processes over the next `SAMPLE` seconds. A process that is gone uses nothing."""
    processes = {pid: process for group in groups.values() for pid in group if (process := _process(pid))}
    if not processes:
        return {}
    time.sleep(SAMPLE)
    taken = {pid: _cpu_and_memory(process) for pid, process in processes.items()}
    on_gpus: Counter[int] = Counter()
    for found in gpu_processes():
        on_gpus[found.pid] += found.memory
    return {
        name: _sum([taken.get(pid, (0.0, 0)) for pid in group], sum(on_gpus[pid] for pid in group))
        for name, group in groups.items()
    }


def _sum(taken: Sequence[tuple[float, int]], gpu_memory: int) -> Usage:
    return Usage(round(sum(cpu for cpu, _ in taken), 1), sum(memory for _, memory in taken), gpu_memory or None)


def _process(pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        process.cpu_percent()  # the next call measures from here
    except psutil.Error:
        return None
    return process


def _cpu_and_memory(process: psutil.Process) -> tuple[float, int]:
    try:
        return process.cpu_percent(), process.memory_info().rss
    except psutil.Error:
        return 0.0, 0
