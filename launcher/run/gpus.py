"""GPUs as NVML sees them, without CUDA."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class GpuProcess:
    gpu: int
    pid: int
    memory: int  # bytes


def gpu_count() -> int:
    return _ask_nvml(lambda nvml: int(nvml.nvmlDeviceGetCount()), 0)


def gpu_processes() -> list[GpuProcess]:
    """The processes that compute on this machine's GPUs, whoever owns them."""
    return _ask_nvml(lambda nvml: list(_gpu_processes(nvml)), [])


def _gpu_processes(nvml: Any) -> Iterator[GpuProcess]:
    for gpu in range(nvml.nvmlDeviceGetCount()):
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(nvml.nvmlDeviceGetHandleByIndex(gpu)):
            yield GpuProcess(gpu, process.pid, process.usedGpuMemory or 0)


def _ask_nvml(question: Callable[[Any], Answer], otherwise: Answer) -> Answer:
    """pynvml's answer; `otherwise` where there is no NVIDIA driver, or one that does not know."""
    if not Path("/proc/driver/nvidia").exists() and not Path("/dev/dxg").exists():
        return otherwise
    import pynvml

    try:
        pynvml.nvmlInit()
        return question(pynvml)
    except pynvml.NVMLError:
        return otherwise
