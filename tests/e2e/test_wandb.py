"""W&B over the life of a run: one identity for all its attempts, and a key that is nowhere."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.launching import LAUNCH, Launched, Launcher
from tests.waiting import until

pytestmark = pytest.mark.slow  # many launches: CI runs them, and whoever asks for them

KEY = "0123456789abcdef" * 2 + "01234567"
SMALL = ("--output-dir", "run", "--no-tmux", "--max-steps", "3", "--wandb")


def link(run: Launched) -> dict[str, str]:
    found: dict[str, str] = json.loads(run.run.wandb_link("trainer").read_text())
    return found


def files_with_the_key(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_resume_goes_on_with_the_same_wandb_run(launch: Launcher) -> None:
    first = launch("sft", *SMALL)
    assert first.exit_code() == 0, first.output
    before = link(first)
    resumed = subprocess.run(
        [LAUNCH, "resume", "run", "--max-steps", "5"], cwd=launch.directory, env=launch.environment, capture_output=True
    )
    assert resumed.returncode == 0, resumed.stdout
    after = link(first)
    assert (after["id"], after["name"]) == (before["id"], before["name"])
    assert after["directory"] != before["directory"]


def command_line(pid: int) -> bytes:
    """Empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("where", ["environment", "options"])
def test_the_key_is_in_no_file_no_output_and_no_command_line(launch: Launcher, where: str) -> None:
    variables = {"WANDB_API_KEY": KEY} if where == "environment" else {}
    options = ["--trainer.env", f"WANDB_API_KEY={KEY}"] if where == "options" else []
    run = launch("sft", *SMALL, "--wandb.mode", "offline", *options, **variables)
    run.wait_for_ranks(1)
    state = run.state()
    children = [process.process.pid for process in state.processes if process.process] + run.rank_pids()
    titles = [title for title in map(command_line, children) if title]
    assert titles
    assert not [title for title in titles if KEY.encode() in title]
    assert run.exit_code() == 0, run.output
    assert KEY not in run.output
    assert files_with_the_key(run.run.root) == []
    until(lambda: not launch.alive())


def test_a_dry_run_does_not_show_the_key(launch: Launcher) -> None:
    dry = launch("sft", *SMALL, "--dry-run", "--trainer.env", f"WANDB_API_KEY={KEY}", WANDB_API_KEY=KEY)
    assert dry.exit_code() == 0
    assert KEY not in dry.output
    assert files_with_the_key(dry.run.root) == []
