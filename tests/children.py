"""Python processes of a test's own, as launch or torchrun would start them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.waiting import until

STRAYS = ("LAUNCH_", "WANDB_", "RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "TORCHELASTIC_", "NO_COLOR", "NETRC")


def run_python(code: str, home: Path, /, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in `home`, without what another launcher or W&B has left in the environment."""
    command = [sys.executable, "-c", code]
    clean = clean_environment(home, **env)
    return subprocess.run(command, cwd=home, env=clean, capture_output=True, text=True, timeout=240, check=False)


def clean_environment(home: Path, /, **env: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(STRAYS)}
    return inherited | {"HOME": str(home), "PYTHONUNBUFFERED": "1"} | env


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does nothing meanwhile: it sees all that is done in the block at once."""
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
