"""Asks another program, such as kubectl or squeue, which may be missing, fail or hang."""

import subprocess
from collections.abc import Sequence


def call(argv: Sequence[str], seconds: float) -> "subprocess.CompletedProcess[str] | None":
    """What it prints, and its exit code. None if it is missing or too slow. It gets no input."""
    try:
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
