"""nanochat's own pretraining under `launch train`, on a CPU. LAUNCH_TEST_NANOCHAT names a checkout of it.

Our Python must have what nanochat needs: kernels, pyarrow, rustbpe and tiktoken.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import Launched, Launcher

ROOT = Path(__file__).parents[2]
CHECKOUT = Path(os.environ.get("LAUNCH_TEST_NANOCHAT") or "nanochat").resolve()
NEEDED = ("kernels", "pyarrow", "rustbpe", "tiktoken")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (CHECKOUT / "scripts" / "base_train.py").exists(),
        reason="LAUNCH_TEST_NANOCHAT names no checkout of nanochat",
    ),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in NEEDED), reason=f"needs {', '.join(NEEDED)}"
    ),
]

VERSION = ["git", "-C", str(CHECKOUT), "log", "-1", "--abbrev=8", "--date=short", "--format=commit %h, %cd"]
COMMIT = subprocess.run(VERSION, capture_output=True, text=True).stdout.strip()

# as the example at the top of base_train.py, smaller
TINY = [
    "--depth=1",
    "--aspect-ratio=32",
    "--head-dim=16",
    "--window-pattern=L",
    "--max-seq-len=64",
    "--device-batch-size=2",
    "--total-batch-size=128",
    "--eval-every=5",
    "--eval-tokens=256",
    "--core-metric-every=-1",
    "--sample-every=-1",
    "--save-every=5",
    "--num-iterations=10",
    "--device-type=cpu",
]


@pytest.fixture
def prepared(launch: Launcher) -> Launcher:
    """With nanochat's base directory: two shards of our docs, and the tokenizer that its own script trains on them."""
    import pyarrow
    from pyarrow import parquet

    base = launch.directory / "base"
    shards = base / "base_data_climbmix"
    shards.mkdir(parents=True)
    texts = [part for page in sorted((ROOT / "docs").glob("*.md")) for part in page.read_text().split("\n\n")]
    for number in (0, 1):
        table = pyarrow.table({"text": texts[number::2]})
        parquet.write_table(table, shards / f"shard_{number:05}.parquet", row_group_size=64)
    launch.environment |= {"NANOCHAT_BASE_DIR": str(base), "TORCHDYNAMO_DISABLE": "1"}
    train = [sys.executable, "-m", "scripts.tok_train", "--vocab-size=512"]
    subprocess.run(train, cwd=CHECKOUT, env=launch.environment, check=True, capture_output=True)
    return launch


def steps(run: Launched, attempt: int) -> list[int]:
    text = run.run.of(attempt).component_log("trainer").read_text()
    return [int(number) for number in re.findall(r"step (\d+)/", text)]


@pytest.mark.runs("nanochat, base training", COMMIT, "configs/nanochat.toml")
def test_it_trains_and_continues_from_its_own_checkpoint(prepared: Launcher) -> None:
    place = ("--output-dir", str(prepared.directory / "run"), "--no-tmux", "--trainer.cwd", str(CHECKOUT))
    recipe = ("@", str(ROOT / "configs" / "nanochat.toml"), "--nproc", "1", "--name", "otter")
    run = prepared("train", *recipe, *place, "--", *TINY)
    assert run.exit_code(300) == 0, run.output[-3000:]
    assert steps(run, 1) == list(range(10))
    metrics = [json.loads(line) for line in run.run.metrics("trainer").read_text().splitlines()]
    assert [line["step"] for line in metrics] == list(range(10))
    assert all(line["loss"] > 0 and line["milliseconds"] > 0 for line in metrics)
    assert (prepared.directory / "base" / "base_checkpoints" / "otter" / "model_000005.pt").exists()
    resumed = prepared("resume", "run", "--no-tmux", "--", "--resume-from-step=5")
    assert resumed.exit_code(300) == 0, resumed.output[-3000:]
    assert steps(run, 2) == list(range(5, 10))
