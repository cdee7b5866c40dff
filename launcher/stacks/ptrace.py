"""Who may read another process's stack on this machine, and how to allow it."""

import os
import sys
from pathlib import Path

NO_PTRACE_SCOPE = "sudo sysctl kernel.yama.ptrace_scope=0"
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


def ptrace_scope() -> int:
    """Yama's setting: 0 the user's processes, 1 only descendants, 2 only with CAP_SYS_PTRACE, 3 none until a reboot."""
    try:
        return int(_YAMA.read_text())
    except (OSError, ValueError):
        return 0  # a kernel without Yama


def advice(command: str) -> str:
    """How to allow ptrace after it was refused. `command` is the launch command to repeat as root."""
    scope = ptrace_scope()
    if scope == 3:
        return "ptrace_scope is 3: no stack can be read until the machine is rebooted with a lower setting"
    if os.geteuid() == 0:
        return "start the container with: --cap-add SYS_PTRACE"
    launch = Path(sys.executable).with_name("launch")
    if scope == 0:
        return f"type: sudo {launch} {command}"
    return f"type: {NO_PTRACE_SCOPE}\n  or: sudo {launch} {command}"
