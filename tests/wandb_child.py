"""A trainer that logs to W&B, as a process of its own."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.children import run_python
from tests.wandb_files import only

WORK = """
import json, sys
from launcher import setup_logger, setup_monitor
from launcher.config.wandb import WandbConfig
setup_logger()
config = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
defaults = {"enabled": True, "name": "calm-otter", "id": "ab12", "init_timeout": 60, "finish_timeout": 60}
monitor = setup_monitor(wandb=WandbConfig(**defaults | config), config={"lr": 0.1, "hf_token": "s3cret"})

def work(steps, samples=3):
    for step in steps:
        monitor.log({"loss": 1 / step, "reward/mean": float(step)}, step)
        if monitor.wants_extras(step):
            rows = [{"prompt": f"p{i}", "completion": "c", "reward": i / 4, "advantage": -1.0} for i in range(samples)]
            monitor.log_samples(step, rows)
            monitor.log_distributions(step, {"reward": [0.0, 0.5], "entropy": [1.5, 2.5, 3.5]})
"""
TO_THE_END = WORK + "work(range(1, 6))\nmonitor.finish(0)"


def child(root: Path, **more: str) -> dict[str, str]:
    return {"LAUNCH_RUN_DIR": str(root), "LAUNCH_COMPONENT": "trainer", **more}


HURRIED = {"init_timeout": 5, "finish_timeout": 2}  # seconds, of a server that never answers


def run(root: Path, code: str, env: dict[str, str] | None = None, **config: Any) -> subprocess.CompletedProcess[str]:
    """`code` as the trainer of a run in `root`, with these W&B settings; it must not end by itself or by W&B."""
    code = code.replace("sys.argv[1]", repr(json.dumps(config))).replace("len(sys.argv) > 1", "True")
    result = run_python(code, root, **child(root, **(env or {})))
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    return result


def offline_run(root: Path) -> Path:
    return only((root / "wandb").glob("offline-run-*-ab12"))


def metrics(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "metrics" / "trainer.jsonl").read_text().splitlines()]
