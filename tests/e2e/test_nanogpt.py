"""nanoGPT's own train.py under `launch train`, and how it continues. LAUNCH_TEST_NANOGPT names a checkout of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import Launched, Launcher

ROOT = Path(__file__).parents[2]
CHECKOUT = Path(os.environ.get("LAUNCH_TEST_NANOGPT") or "nanoGPT")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (CHECKOUT / "train.py").exists(), reason="LAUNCH_TEST_NANOGPT names no checkout of nanoGPT"),
]

VERSION = ["git", "-C", str(CHECKOUT), "log", "-1", "--abbrev=8", "--date=short", "--format=commit %h, %cd"]
COMMIT = subprocess.run(VERSION, capture_output=True, text=True).stdout.strip()

# With torchrun's RANK, train.py asks for a GPU.
WITHOUT_GPU = """
import os, runpy
del os.environ["RANK"]
runpy.run_path("train.py", run_name="__main__")
"""
TINY = [
    "--n_layer=1",
    "--n_head=2",
    "--n_embd=32",
    "--block_size=32",
    "--batch_size=4",
    "--gradient_accumulation_steps=1",
]
QUICK = [
    "--eval_iters=2",
    "--eval_interval=10",
    "--log_interval=1",
    "--gradient_accumulation_steps=1",
    "--dataset=shakespeare_char",
]
ON_CPU = ["--wandb_log=False", "--device=cpu", "--compile=False", "--dtype=float32"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy, with data of characters that its own script has prepared from our text."""
    copy = tmp_path / "nanoGPT"
    shutil.copytree(CHECKOUT, copy, ignore=shutil.ignore_patterns(".git", "out*"))
    data = copy / "data" / "shakespeare_char"
    (data / "input.txt").write_text((ROOT / "docs" / "command-line.md").read_text())
    subprocess.run([sys.executable, str(data / "prepare.py")], check=True, capture_output=True)
    (copy / "without_gpu.py").write_text(WITHOUT_GPU)
    return copy


def iterations(run: Launched, attempt: int) -> list[int]:
    text = run.run.of(attempt).component_log("trainer").read_text()
    return [int(number) for number in re.findall(r"iter (\d+): loss", text)]


@pytest.mark.runs("nanoGPT", COMMIT, "configs/nanogpt.toml")
def test_it_trains_and_continues_from_its_own_checkpoint(launch: Launcher, checkout: Path) -> None:
    place = ("--output-dir", str(launch.directory / "run"), "--no-tmux", "--trainer.cwd", str(checkout))
    recipe = ("@", str(ROOT / "configs" / "nanogpt.toml"), "--trainer.script", str(checkout / "without_gpu.py"))
    run = launch("train", *recipe, *place, "--", *TINY, *QUICK, *ON_CPU, "--max_iters=20")
    assert run.exit_code() == 0, run.output[-3000:]
    assert iterations(run, 1) == list(range(21))
    assert len(run.run.metrics("trainer").read_text().splitlines()) == 21
    assert (run.run.root / "out" / "ckpt.pt").exists()
    resumed = launch("resume", "run", "--no-tmux", "--", "--max_iters=30")
    assert resumed.exit_code() == 0, resumed.output[-3000:]
    assert iterations(run, 2) == list(range(20, 31))
