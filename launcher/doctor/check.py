"""One check of `launch doctor`."""

from dataclasses import dataclass
from typing import Literal

from launcher.processes.tool import call

Group = Literal["rl, sft", "rl", "W&B", "tmux", "Slurm", "detach", "stacks", "nodes"]


@dataclass(frozen=True)
class Check:
    """`fail`: the group's commands cannot work here; `warn`: they work, but something is missing."""

    group: Group
    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    fix: str = ""  # a command, or other advice


def ask(*command: str, seconds: float = 2.0) -> str | None:
    """A program's output, stripped; None if the program is missing, fails or takes too long."""
    done = call(command, seconds)
    return None if done is None or done.returncode else done.stdout.strip()
