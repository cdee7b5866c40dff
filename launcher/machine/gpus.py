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


def gpu_memory() -> int:
    """The memory of the smallest GPU of this machine, in bytes. 0 without one."""
    return _ask_nvml(lambda nvml: min(_memories(nvml), default=0), 0)


def _memories(nvml: Any) -> Iterator[int]:
    for gpu in range(nvml.nvmlDeviceGetCount()):
        yield int(nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(gpu)).total)


def gpu_processes() -> list[GpuProcess]:
    """The processes that compute on this machine's GPUs, whoever owns them."""
    return _ask_nvml(lambda nvml: list(_gpu_processes(nvml)), [])


def _gpu_processes(nvml: Any) -> Iterator[GpuProcess]:
    for gpu in range(nvml.nvmlDeviceGetCount()):
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(nvml.nvmlDeviceGetHandleByIndex(gpu)):
            yield GpuProcess(gpu, process.pid, process.usedGpuMemory or 0)


class XidErrors:
    """Critical GPU errors from now on: the driver's Xid codes, such as 79, "fallen off the bus"."""

    def __init__(self) -> None:
        self._events: Any = _ask_nvml(_registered, None)

    def new(self) -> list[str]:
        """One sentence per new error."""
        return _ask_nvml(lambda nvml: list(_xids(nvml, self._events)), []) if self._events is not None else []


def _registered(nvml: Any) -> Any:
    events = nvml.nvmlEventSetCreate()
    for gpu in range(nvml.nvmlDeviceGetCount()):
        nvml.nvmlDeviceRegisterEvents(nvml.nvmlDeviceGetHandleByIndex(gpu), nvml.nvmlEventTypeXidCriticalError, events)
    return events


def _xids(nvml: Any, events: Any) -> Iterator[str]:
    while True:
        try:
            event = nvml.nvmlEventSetWait_v2(events, 0)
        except nvml.NVMLError:  # time-out: no more events
            return
        yield f"GPU {nvml.nvmlDeviceGetIndex(event.device)} has reported the error Xid {event.eventData}"


def _ask_nvml(question: Callable[[Any], Answer], otherwise: Answer) -> Answer:
    """NVML's answer, or `otherwise` if there is no NVIDIA driver or it cannot answer."""
    if not Path("/proc/driver/nvidia").exists() and not Path("/dev/dxg").exists():
        return otherwise
    import pynvml

    try:
        pynvml.nvmlInit()
        return question(pynvml)
    except pynvml.NVMLError:
        return otherwise
