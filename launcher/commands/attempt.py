"""What a new run and a resumed one have in common before they start."""

from pathlib import Path

from launcher.config.run import RLConfig, RunConfig, SFTConfig, started_processes
from launcher.rundir import RunDir


def process_count(config: RLConfig | SFTConfig) -> int:
    return len(started_processes(config)) + (config.trainer.nproc or 0)


def directory_of(config: RunConfig, name: str) -> RunDir:
    return RunDir(Path.cwd() / (config.output_dir or Path("outputs", name)))
