"""`launch sft` with two ranks, and what can be done with its result."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.rundir import RunDir
from launcher.runs.state import read_state
from launcher.view.metric_curves import read_metrics, series
from tests.launching import Launched, Launcher, launcher_in
from tests.waiting import until
from tests.wandb_files import history


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Launcher, Launched]]:
    with launcher_in(tmp_path_factory.mktemp("sft")) as launcher:
        launched = launcher("sft", "--output-dir", "run", "--nproc", "2", "--wandb", "--no-tmux")
        assert launched.exit_code(560) == 0, launched.output[-3000:]
        yield launcher, launched


def test_validation_loss_falls_and_held_out_prompts_are_answered_exactly(finished: tuple[Launcher, Launched]) -> None:
    steps = read_metrics(finished[1].run.metrics("trainer"))
    losses = series(steps, "validation/loss")
    assert losses[-1] < 0.1 * losses[0]
    assert series(steps, "evaluation/exact_match")[-1] >= 0.9


def test_two_ranks_have_one_wandb_run_that_says_what_the_metrics_say(finished: tuple[Launcher, Launched]) -> None:
    run = finished[1].run
    link = json.loads(run.wandb_link("trainer").read_text())
    assert len(list(run.wandb.glob("offline-run-*"))) == 1
    logged = [row["loss"] for row in history(Path(link["directory"])) if "loss" in row]
    assert logged == pytest.approx(series(read_metrics(run.metrics("trainer")), "loss"))


def test_only_rank_0_is_on_the_console_and_both_have_a_log(finished: tuple[Launcher, Launched]) -> None:
    launched = finished[1]
    steps = [line for line in launched.output.splitlines() if re.match(r"\d\d:\d\d:\d\d trainer0 step ", line)]
    assert steps and max(map(len, steps)) <= 80
    assert "trainer1" not in launched.output
    assert launched.run.rank_log(1).stat().st_size > 0


@pytest.mark.slow
def test_rl_starts_from_its_checkpoint(finished: tuple[Launcher, Launched]) -> None:
    launcher = finished[0]
    rl = launcher("rl", "--output-dir", "rl", "--no-tmux", "--max-steps", "2", "--model", "run")
    assert rl.exit_code() == 0, rl.output[-3000:]
    steps = read_metrics(RunDir(launcher.directory / "rl").metrics("orchestrator"))
    assert series(steps, "evaluation/reward")[0] > 0.9


@pytest.mark.slow
def test_a_dead_inference_server_fails_the_run_and_is_named(finished: tuple[Launcher, Launched]) -> None:
    launcher = finished[0]
    rl = launcher("rl", "--output-dir", "killed", "--no-tmux")
    run = RunDir(launcher.directory / "killed")
    until(lambda: read_metrics(run.metrics("orchestrator")))
    state = read_state(run)
    assert state is not None
    inference = next(process for process in state.processes if process.name == "inference")
    assert inference.process is not None
    os.kill(inference.process.pid, 9)
    assert rl.exit_code() == 1
    assert "FAILED  inference: SIGKILL" in rl.output


@pytest.mark.slow
def test_eight_ranks_run_on_a_machine_without_gpus(finished: tuple[Launcher, Launched]) -> None:
    launcher = finished[0]
    rl = launcher("rl", "--output-dir", "eight", "--nproc", "8", "--no-tmux", "--max-steps", "2")
    assert rl.exit_code() == 0, rl.output[-3000:]


@pytest.mark.slow
def test_the_trainer_starts_by_hand_as_the_documents_show(finished: tuple[Launcher, Launched]) -> None:
    launcher = finished[0]
    config = launcher.directory / "sft.toml"
    config.write_text("max_steps = 2\n[model.tiny]\nlayers = 1\n")
    torchrun = ["python", "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "launcher.workload.sft"]
    done = subprocess.run(
        [*torchrun, "@", str(config), "--output-dir", "by-hand", "--model.tiny.dim", "32"],
        cwd=launcher.directory,
        env=launcher.environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert RunDir(launcher.directory / "by-hand").checkpoint(2).is_dir()
