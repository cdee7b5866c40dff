"""GPUs as NVML sees them, without CUDA."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class GpuProcess:
    gpu: int
    pid: int
    memory: int  # bytes


@contextmanager
def _nvml() -> Iterator[Any]:
    """pynvml, ready to be asked; None on a machine without an NVIDIA driver, where loading it would take time."""
    if not Path("/proc/driver/nvidia").exists() and not Path("/dev/dxg").exists():
        yield None
        return
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def gpu_count() -> int:
    with _nvml() as nvml:
        return int(nvml.nvmlDeviceGetCount()) if nvml else 0


def gpu_processes() -> list[GpuProcess]:
    """The processes that compute on this machine's GPUs, whoever owns them."""
    with _nvml() as nvml:
        return [
            GpuProcess(gpu, process.pid, process.usedGpuMemory or 0)
            for gpu in range(nvml.nvmlDeviceGetCount() if nvml else 0)
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(nvml.nvmlDeviceGetHandleByIndex(gpu))
        ]
