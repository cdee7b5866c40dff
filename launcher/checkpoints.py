"""Finds the complete `step_N` files and directories: checkpoints, weights, rollouts; and the model in a directory."""

import re
from pathlib import Path

from launcher.errors import UserError
from launcher.home import in_home
from launcher.rundir import RunDir

_HUB_ID = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
MODELS = "name tiny, a directory with config.json, the output directory of a run, or a hub id such as Qwen/Qwen3-0.6B"


def steps_in(directory: Path) -> list[int]:
    """The N of each complete `step_N` in a directory, ascending."""
    names = (path.stem.removeprefix("step_") for path in directory.glob("step_*"))
    return sorted(int(name) for name in names if re.fullmatch("[0-9]{1,15}", name))


def newest_checkpoint(run: RunDir) -> int | None:
    """The step of the reference trainer's newest checkpoint. None without one."""
    return max(steps_in(run.checkpoints), default=None)


def model_directory(path: Path) -> Path | None:
    """`path`, if it holds a model in Hugging Face's layout, or the newest checkpoint of the run that it holds."""
    if (path / "config.json").is_file():
        return path
    newest = newest_checkpoint(RunDir(path)) if path.is_dir() else None
    return None if newest is None else RunDir(path).checkpoint(newest)


def resolve_model(name: str) -> str:
    """The model's directory, or its id on the hub. Raises UserError when a path leads nowhere, or to no model."""
    path = in_home(name) or Path(name)
    if directory := model_directory(path):
        return str(directory.absolute())
    if path.exists():
        raise UserError(f"--model {name}: there is no model, neither config.json nor checkpoints/", MODELS)
    if path.parent.is_dir() and path.parent == RunDir(path.parent.parent).checkpoints:
        hint = "a run keeps its newest ones (trainer.checkpoint.keep): name another one, or the run"
        raise UserError(f"--model {name}: this checkpoint is not there any more", hint)
    if not _HUB_ID.fullmatch(name):
        raise UserError(f"--model {name}: there is no such directory", MODELS)
    return name
