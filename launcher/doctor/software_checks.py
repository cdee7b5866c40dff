"""Checks of the software: torch, launch's own installation, the environment, W&B, Slurm, py-spy."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from pathlib import Path

from launcher.borders.screen import quoted
from launcher.config.wandb import WandbConfig, over_environment
from launcher.doctor.check import Check, ask
from launcher.errors import UserError
from launcher.machine.gpus import gpu_count
from launcher.machine.ports import free_ports
from launcher.machine.wandb_login import is_logged_in
from launcher.plan.environment import strays
from launcher.stacks.ptrace import NO_PTRACE_SCOPE, ptrace_scope
from launcher.stacks.stacks import find_pyspy

TORCH_SECONDS = 1.0  # the whole of doctor takes two; the first import after a boot takes up to a minute
_ASSIGNED = re.compile(r"^(\w+)(: [^=]*)? = '([^']*)'$", re.MULTILINE)
_TORCH = """
import json, torch
print(json.dumps([torch.__version__, torch.version.cuda or torch.version.hip, torch.cuda.is_available()]))
"""


def check_torch() -> Iterator[Check]:
    """Imports torch in another process: the import takes seconds, may hang, and uses memory on each GPU.

    If it takes too long, torch's files say what is installed.

    -P keeps Python from executing a torch.py in the working directory, which another user may have put there.
    """
    try:
        command = [sys.executable, "-P", "-c", _TORCH]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TORCH_SECONDS)
        version, cuda, sees_gpu = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        yield _slow_torch(installed_torch())
        return
    except ValueError:
        reason = done.stderr.strip().rpartition("\n")[2]
        yield Check("rl, sft", "torch", "fail", reason, f"{quoted(sys.executable)} -m pip install torch")
        return
    if gpu_count() and not sees_gpu:
        found = f"{version} sees no GPU, though there are some" if cuda else f"{version} is built for the CPU only"
        yield _blind_torch(found)
        return
    yield Check("rl, sft", "torch", "ok", f"{version}, {f'CUDA {cuda}' if sees_gpu else 'on the CPU'}")


def _slow_torch(installed: tuple[str, str | None] | None) -> Check:
    slow = f"the import takes more than {TORCH_SECONDS:g}s"
    if installed is None:
        return Check("rl, sft", "torch", "fail", slow, f'look at it: {quoted(sys.executable)} -P -c "import torch"')
    version, cuda = installed
    if gpu_count() and not cuda:
        return _blind_torch(f"{version} is built for the CPU only")
    return Check("rl, sft", "torch", "ok", f"{version}, built for {f'CUDA {cuda}' if cuda else 'the CPU'}; {slow}")


def _blind_torch(found: str) -> Check:
    return Check("rl, sft", "torch", "warn", found, "install the build for this driver: https://pytorch.org")


def installed_torch() -> tuple[str, str | None] | None:
    """torch's version, and the CUDA or ROCm that it is built for, from its files. None if they do not say."""
    try:
        text = Path(str(distribution("torch").locate_file("torch/version.py"))).read_text()
    except (PackageNotFoundError, OSError):
        return None
    found = {name: value for name, _, value in _ASSIGNED.findall(text)}
    return (found["__version__"], found.get("cuda") or found.get("hip")) if "__version__" in found else None


def check_installation() -> Iterator[Check]:
    """torchrun finds our logs specs by an entry point. A copy of the package without installation has none."""
    if "launch" in entry_points(group="torchrun.logs_specs").names:
        yield Check("rl, sft", "torchrun", "ok", "its logs go to documented paths")
    else:
        fix = f"{quoted(sys.executable)} -m pip install launch-rl"
        yield Check("rl, sft", "torchrun", "fail", "does not know launch: the package is not installed", fix)


def check_environment() -> Iterator[Check]:
    found = strays(frozenset(os.environ))
    if found:
        text = f"set by another launcher, not passed to the run: {', '.join(found)}"
        yield Check("rl, sft", "environment", "warn", text, f"unset {' '.join(found)}")


def check_port() -> Iterator[Check]:
    """The inference server needs a free port."""
    try:
        yield Check("rl", "port", "ok", f"127.0.0.1:{free_ports('127.0.0.1').start} is free")
    except UserError as error:
        yield Check("rl", "port", "fail", error.message, "ip link set lo up")


def check_wandb() -> Iterator[Check]:
    config = over_environment(WandbConfig(), os.environ)
    if is_logged_in(config):
        yield Check("W&B", "login", "ok", "there is a key")
    else:
        yield Check("W&B", "login", "warn", "not logged in: --wandb logs offline", "wandb login")


def check_slurm() -> Iterator[Check]:
    if not shutil.which("sbatch"):
        yield Check("Slurm", "sbatch", "ok", "not installed; runs are started on this machine")
        return
    state = ask("scontrol", "ping") or ""
    if "UP" in state:
        yield Check("Slurm", "sbatch", "ok", ask("sbatch", "--version") or "")
    else:
        yield Check("Slurm", "sbatch", "warn", "installed, but the controller does not answer", "scontrol ping")


def check_pyspy() -> Iterator[Check]:
    if not find_pyspy():
        fix = f"{quoted(sys.executable)} -m pip install py-spy"
        yield Check("stacks", "py-spy", "warn", "not installed: only processes that call setup_logger answer", fix)
    elif ptrace_scope() and os.geteuid() != 0:
        found = f"is {ptrace_scope()}: launch stacks works only for processes that call setup_logger"
        yield Check("stacks", "ptrace_scope", "warn", found, NO_PTRACE_SCOPE)
    else:
        yield Check("stacks", "py-spy", "ok", "can read the stacks of your processes")
