"""Python processes of a test's own, as launch or torchrun would start them."""

import os
import subprocess
import sys
from pathlib import Path

STRAYS = ("LAUNCH_", "WANDB_", "RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "TORCHELASTIC_", "NO_COLOR", "NETRC")


def run_python(code: str, home: Path, /, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in `home`, without what another launcher or W&B has left in the environment."""
    command = [sys.executable, "-c", code]
    clean = clean_environment(home, **env)
    return subprocess.run(command, cwd=home, env=clean, capture_output=True, text=True, timeout=240, check=False)


def clean_environment(home: Path, /, **env: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(STRAYS)}
    return inherited | {"HOME": str(home), "PYTHONUNBUFFERED": "1"} | env
