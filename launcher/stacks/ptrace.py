"""Who may look into another process on this machine, and what to do about it."""

import os
import sys
from pathlib import Path

NO_PTRACE_SCOPE = "sudo sysctl kernel.yama.ptrace_scope=0"
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


def ptrace_scope() -> int:
    """Yama's setting: 0 a user's own processes, 1 one's descendants, 2 with CAP_SYS_PTRACE, 3 nobody until a reboot."""
    try:
        return int(_YAMA.read_text())
    except (OSError, ValueError):
        return 0  # a kernel without Yama


def advice(command: str) -> str:
    """What makes ptrace possible for who has been refused it; `command` is what to type again as root."""
    scope = ptrace_scope()
    if scope == 3:
        return "ptrace_scope is 3: no process can be looked into until the machine has been started anew with less"
    if os.geteuid() == 0:
        return "start the container with: --cap-add SYS_PTRACE"
    launch = Path(sys.executable).with_name("launch")
    if scope == 0:
        return f"type: sudo {launch} {command}"
    return f"type: {NO_PTRACE_SCOPE}\n  or: sudo {launch} {command}"
