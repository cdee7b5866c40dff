"""The runs of the golden files: what Slurm gets, what Kubernetes gets and what --dry-run prints of each of them."""

import os
from pathlib import Path

from launcher.config.run import RLConfig, SFTConfig
from tests.plans import rl, sft

RUNS = {
    "sft_one_node": (),
    "sft_two_nodes": ("--nnodes", "2"),
    "rl_three_nodes": ("--nnodes", "2", "--inference.nodes", "1"),
    "rl_replicas": ("--inference.replicas", "2"),
    "rl_replicas_three_nodes": ("--nnodes", "2", "--inference.nodes", "1", "--inference.replicas", "4"),
}
REFRESH = "REFRESH_GOLDEN=1 pytest tests/k8s/test_jobset.py tests/slurm/test_script.py tests/plan/test_render.py"


def run_of(name: str, *more: str) -> RLConfig | SFTConfig:
    return (rl if name.startswith("rl") else sft)(*RUNS[name], *more)


def check_golden(file: Path, text: str) -> None:
    """Refresh the files with REFRESH, and look at what git says of them."""
    if os.environ.get("REFRESH_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text(), f"if that is meant: {REFRESH}"
