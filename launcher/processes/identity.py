"""Identifies a process for good. A pid alone can be reused."""

import os
import time
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from launcher.processes.process_tree import start_time, zombie_exit_code


class ProcessId(BaseModel):
    model_config = ConfigDict(extra="ignore", defer_build=True)  # a newer launch may add fields

    pid: int = Field(gt=0, lt=2**31)  # kill() reads 0 and below as a process group
    start_time: Annotated[int, Field(ge=0, lt=2**63)] | None  # clock ticks since boot


def identify(pid: int) -> ProcessId:
    return ProcessId(pid=pid, start_time=start_time(pid))


def is_alive(process: ProcessId) -> bool:
    """Whether exactly this process runs on this host. False for a later process with its pid, and for a zombie."""
    is_there = process.start_time is not None and start_time(process.pid) == process.start_time
    return is_there and zombie_exit_code(process.pid) is None


def started_at(process: ProcessId) -> float | None:
    """When a process of this host was started, in seconds since the epoch."""
    if process.start_time is None:
        return None
    since_boot = process.start_time / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
