"""Which model a name means: `tiny`, a directory in Hugging Face's layout, a run of ours, or an id on the hub."""

import re
from pathlib import Path

from launcher.checkpoints import model_directory
from launcher.config.workload import TINY, Handed, ModelConfig
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.workload.models.tiny import make_tiny

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
ALLOWED = "name tiny, a directory with config.json, the output directory of a run, or a hub id such as Qwen/Qwen3-0.6B"


def find_model(config: ModelConfig, handed: Handed) -> str:
    """A directory or a hub id, for `from_pretrained`. `tiny` is made in the run's directory, unless it is there.

    Raises UserError when it is none of them.
    """
    if config.name == TINY:
        directory = RunDir(handed.output_dir, handed.attempt, handed.node).model
        make_tiny(directory, config.tiny, handed.seed)
        return str(directory)
    return resolve(config.name)


def resolve(name: str) -> str:
    """A directory or a hub id. Raises UserError when a path leads nowhere, or to no model."""
    path = Path(name).expanduser()
    if directory := model_directory(path):
        return str(directory)
    if path.exists():
        raise UserError(f"there is no model at {path}: it has neither config.json nor checkpoints/", ALLOWED)
    if not _HUB_ID.fullmatch(name) or name.startswith("."):
        raise UserError(f"there is no model at {path}", ALLOWED)
    return name
