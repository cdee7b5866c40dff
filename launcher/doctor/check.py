"""One thing that `launch doctor` has looked at."""

import subprocess
from dataclasses import dataclass
from typing import Literal

Group = Literal["rl, sft", "rl", "W&B", "tmux", "Slurm", "detach", "stacks"]


@dataclass(frozen=True)
class Check:
    """`fail`: what the group names cannot be done; `warn`: it can, but with something missing."""

    group: Group
    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    fix: str = ""  # the command, or what else to do


def ask(*command: str, seconds: float = 2.0) -> str | None:
    """What a program prints, stripped; None when it is not there, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
