"""Which model a name means: `tiny`, a directory in Hugging Face's layout, a run of ours, or an id on the hub."""

from launcher.checkpoints import resolve_model
from launcher.config.workload import TINY, Handed, ModelConfig
from launcher.rundir import RunDir
from launcher.workload.models.tiny import make_tiny


def find_model(config: ModelConfig, handed: Handed) -> str:
    """A directory or a hub id, for `from_pretrained`. `tiny` is made in the run's directory, unless it is there.

    Raises UserError when the name means none.
    """
    if config.name == TINY:
        directory = RunDir(handed.output_dir, handed.attempt, handed.node).model
        make_tiny(directory, config.tiny, handed.seed)
        return str(directory)
    return resolve_model(config.name)
