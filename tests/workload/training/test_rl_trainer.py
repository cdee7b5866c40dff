import json
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from launcher.checkpoints import steps_in
from launcher.config.training import CheckpointConfig, LoraConfig, PolicyLossConfig, RLTrainerConfig
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.workload.metric_names import RL_TRAINER
from launcher.workload.models.tiny import END_TOKEN
from launcher.workload.rollout.handover import make_batch, sample_of, write_batch
from launcher.workload.training.rl_trainer import train
from tests.waiting import until
from tests.workload.conftest import Run
from tests.workload.running import TINY, TINY_MODEL, finished, has_step, model_bytes, started, tiny
from tests.workload.training.checking import assert_same_weights


def write_rollouts(run: RunDir, steps: int, samples: int = 12) -> None:
    """Batches of random tokens and their log-probabilities, of very different lengths."""
    model, luck = tiny(), random.Random(0)
    rows = []
    for _ in range(samples):
        prompt = [END_TOKEN, *luck.choices(range(256), k=luck.randint(1, 9))]
        completion = luck.choices(range(256), k=luck.randint(1, 12))
        with torch.no_grad():
            logprobs = model(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
        sampled = [float(logprobs[len(prompt) + at - 1, token]) for at, token in enumerate(completion)]
        rows.append(sample_of(prompt, completion, sampled, policy_step=0))
    for step in range(1, steps + 1):
        advantages = [luck.gauss(0, 1) for _ in rows]
        samples_now = [replace(row, policy_step=step - 1) for row in rows]
        write_batch(run, step, make_batch(samples_now, advantages, temperature=1.0))


def metrics(run: RunDir) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.metrics("trainer").read_text().splitlines()]


def config(run: RunDir, **settings: Any) -> RLTrainerConfig:
    return RLTrainerConfig(output_dir=run.root, attempt=run.attempt, model=TINY, **settings)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_learn_what_one_learns(tmp_path: Path, run_here: Run) -> None:
    one, two = RunDir(tmp_path / "one"), RunDir(tmp_path / "two")
    for run in (one, two):
        write_rollouts(run, 3)
    run_here(train, config(one, max_steps=3))
    finished("rl", "--output-dir", two.root, "--max-steps", 3, *TINY_MODEL, ranks=2)
    assert_same_weights(one, two, step=3)
    for ours, theirs in zip(metrics(one), metrics(two), strict=True):
        for name in ("loss", "policy/ratio", "policy/entropy", "policy/kl", "optimizer/grad_norm"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-5), name


@pytest.mark.parametrize("adapters", [0, 2])
def test_a_run_that_is_continued_learns_bit_for_bit_what_it_would_have(
    tmp_path: Path, run_here: Run, adapters: int
) -> None:
    if adapters:
        pytest.importorskip("peft")
    torch.set_num_threads(1)  # as the trainer does: batches that are written before and after it are to be the same
    settings = {"loss": PolicyLossConfig(kl=0.1), "lora": LoraConfig(rank=adapters), "max_tokens": 40}
    whole, first, second = RunDir(tmp_path / "whole"), RunDir(tmp_path / "parts"), RunDir(tmp_path / "parts", attempt=2)
    for run in (whole, first):
        write_rollouts(run, 5)
    run_here(train, config(whole, max_steps=5, **settings))
    run_here(train, config(first, max_steps=2, **settings))
    write_rollouts(second, 5)
    run_here(train, config(second, max_steps=5, **settings))
    assert model_bytes(second, 5) == model_bytes(whole, 5)


def test_adapters_are_neither_added_nor_left_out_by_a_resume(tmp_path: Path, run_here: Run) -> None:
    pytest.importorskip("peft")
    plain, adapted = RunDir(tmp_path / "plain"), RunDir(tmp_path / "adapted")
    for run, rank, other, has in ((plain, 0, 2, "no adapters"), (adapted, 2, 0, "adapters")):
        write_rollouts(run, 1)
        run_here(train, config(run, max_steps=1, lora=LoraConfig(rank=rank)))
        with pytest.raises(UserError, match=f"it has {has}, and trainer.lora.rank is"):
            run_here(train, config(run.of(2), max_steps=2, lora=LoraConfig(rank=other)))


def test_what_everybody_has_passed_is_removed(tmp_path: Path, run_here: Run) -> None:
    run = RunDir(tmp_path)
    write_rollouts(run, 4)
    run_here(train, config(run, max_steps=4, checkpoint=CheckpointConfig(interval=1, keep=2)))
    assert steps_in(run.rollouts) == []
    assert steps_in(run.all_weights) == [3, 4]  # batch 4 was sampled by policy 3
    assert steps_in(run.checkpoints) == [3, 4]


def test_every_metric_is_documented_and_the_policy_moves_away_from_its_reference(tmp_path: Path, run_here: Run) -> None:
    run = RunDir(tmp_path)
    write_rollouts(run, 2)
    run_here(train, config(run, max_steps=2, loss=PolicyLossConfig(kl=0.1)))
    assert metrics(run)[0]["policy/kl_reference"] == pytest.approx(0, abs=1e-6)
    assert metrics(run)[1]["policy/kl_reference"] > 1e-6
    assert metrics(run)[0]["policy/logprob_difference"] < 1e-5  # the server's were those of a plain forward pass
    assert metrics(run)[0].keys() - {"step", "time"} == RL_TRAINER.keys()


def test_no_batch_is_an_error_that_points_to_the_orchestrator(tmp_path: Path, run_here: Run) -> None:
    with pytest.raises(UserError, match=r"no batch 1 after 0\.1 s") as late:
        run_here(train, config(RunDir(tmp_path), batch_timeout=0.1))
    assert "is the orchestrator alive?" in str(late.value)


def test_the_stale_batches_of_an_earlier_attempt_are_not_learned_from(tmp_path: Path, run_here: Run) -> None:
    write_rollouts(RunDir(tmp_path, attempt=1), 1)
    with pytest.raises(UserError, match="no batch 1"):
        run_here(train, config(RunDir(tmp_path, attempt=2), batch_timeout=0.1))


def test_ranks_that_torchrun_has_restarted_point_to_resume(
    tmp_path: Path, run_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(UserError, match="launch resume"):
        run_here(train, config(RunDir(tmp_path)))


@pytest.mark.slow
def test_sigterm_while_waiting_writes_a_checkpoint_that_the_next_attempt_continues(
    tmp_path: Path, run_here: Run
) -> None:
    run, again = RunDir(tmp_path), RunDir(tmp_path, attempt=2)
    write_rollouts(run, 3)
    with started("rl", "--output-dir", tmp_path, "--checkpoint.interval", 0, *TINY_MODEL) as process:
        until(lambda: has_step(run.metrics("trainer"), 3))
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 143, output
    assert steps_in(run.checkpoints) == [3]
    write_rollouts(again, 4)
    run_here(train, config(again, max_steps=4))
    assert [line["step"] for line in metrics(run)] == [1, 2, 3, 4]
