"""What processes take of the machine, each with everything below it."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from launcher.run.gpus import gpu_processes
from launcher.run.processes import descendants

SAMPLE = 0.2  # seconds over which CPU time is measured


@dataclass(frozen=True)
class Usage:
    cpu: float  # percent of one core
    memory: int  # bytes, resident; what processes share is counted for each of them
    gpu_memory: int | None  # bytes; None when nothing there uses a GPU


def measure(pids: Iterable[int]) -> dict[int, Usage]:
    """The usage of each process and its descendants, over the next `SAMPLE` seconds; zero for one that is gone."""
    trees = {pid: [pid, *descendants(pid)] for pid in pids}
    if not trees:
        return {}
    processes = {pid: process for tree in trees.values() for pid in tree if (process := _process(pid))}
    time.sleep(SAMPLE)
    taken = {pid: _cpu_and_memory(process) for pid, process in processes.items()}
    on_gpus: Counter[int] = Counter()
    for found in gpu_processes():
        on_gpus[found.pid] += found.memory
    return {pid: _sum([taken[each] for each in tree if each in taken], on_gpus, tree) for pid, tree in trees.items()}


def _sum(taken: list[tuple[float, int]], on_gpus: Counter[int], tree: list[int]) -> Usage:
    gpu_memory = sum(on_gpus[pid] for pid in tree)
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
