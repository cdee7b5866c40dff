"""Finds and checks the Python of a component that has its own."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from launcher.errors import UserError
from launcher.home import in_home
from launcher.plan.spec import ProcessSpec

_HAS_TORCH = "import importlib.util, sys; sys.exit(0 if importlib.util.find_spec('torch') else 3)"
ANSWER_WITHIN = 60.0  # seconds: a cold network file system is slow


def find_python(component: str, python: Path) -> str:
    """The interpreter's path, from a path to it, a virtual environment or a name on PATH. Raises UserError.

    Links are not resolved: an interpreter finds its virtual environment by the path it was called with.
    """
    if len(python.parts) == 1 and (found := shutil.which(str(python))):
        return found
    path = Path.cwd() / (in_home(python) or python)
    interpreter = path / "bin" / "python" if path.is_dir() else path
    if not shutil.which(interpreter):
        raise UserError(
            f"{component}.python {python}: {interpreter} is not a program",
            "name an interpreter or a virtual environment",
        )
    return str(interpreter)


def find_vllm(python: Path | None) -> str | None:
    """The `vllm` command of inference's own environment; else the one beside this interpreter, or on PATH."""
    if python is None:
        return shutil.which("vllm", path=str(Path(sys.executable).parent)) or shutil.which("vllm")
    return shutil.which("vllm", path=str(Path(find_python("inference", python)).parent))


def check_torch(spec: ProcessSpec, environment: Mapping[str, str]) -> None:
    """Raises UserError if the interpreter cannot run torchrun because it has no torch."""
    python = spec.argv[0]
    command = [python, "-c", _HAS_TORCH]
    try:
        done = subprocess.run(
            command, cwd=spec.cwd, env=dict(environment), capture_output=True, text=True, timeout=ANSWER_WITHIN
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{spec.name}: {python} cannot be run: {error}") from None
    if done.returncode == 3:
        hint = "install it there, or start the component with `command`, without torchrun"
        raise UserError(f"{spec.name}: {python} has no torch, and torchrun is part of torch", hint)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it printed no error"])[-1]
        raise UserError(f"{spec.name}: {python} does not work as a Python: {last}")
