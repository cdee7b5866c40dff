import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from launcher.rundir import RunDir
from tests.waiting import until
from tests.workload.running import TINY_MODEL, finished, has_step, model_bytes, started

SMALL = ("--batch-size", 6, "--data.train-pairs", 200, "--data.validation-pairs", 5, *TINY_MODEL)


def metrics(run: RunDir) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.metrics("trainer").read_text().splitlines()]


def write_pairs(path: Path) -> None:
    """Pairs of very different lengths, so that ranks have different numbers of tokens."""
    pairs = [{"prompt": f"{n}>", "completion": "x" * (n % 20)} for n in range(50)]
    path.write_text("\n".join(json.dumps(pair) for pair in pairs))


def test_a_killed_run_that_is_continued_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = RunDir(tmp_path / "whole"), RunDir(tmp_path / "killed")
    arguments = ("--max-steps", 300, "--checkpoint.interval", 50, *SMALL)
    finished("sft", "--output-dir", whole.root, *arguments)
    with started("sft", "--output-dir", killed.root, *arguments) as process:
        until(lambda: has_step(killed.metrics("trainer"), 70), deadline=30)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=5)
    assert not killed.checkpoint(300).exists()
    output = finished("sft", "--output-dir", killed.root, "--attempt", 2, *arguments)
    assert "continuing from" in output
    assert model_bytes(killed, 300) == model_bytes(whole, 300)
    assert [line["step"] for line in metrics(killed)] == [line["step"] for line in metrics(whole)]


def test_sigterm_ends_every_rank_with_a_checkpoint_of_the_step_in_hand(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with started("sft", "--output-dir", tmp_path, "--max-steps", 100_000, *SMALL, ranks=2) as process:
        until(lambda: has_step(run.metrics("trainer"), 5), deadline=30)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
    last = metrics(run)[-1]["step"]
    assert process.returncode != 0 and f"asked to end after {last} updates" in output
    assert (run.checkpoint(int(last)) / "model.safetensors").exists()


def test_two_ranks_learn_what_one_learns_when_their_token_counts_differ(tmp_path: Path) -> None:
    one, two, pairs = RunDir(tmp_path / "one"), RunDir(tmp_path / "two"), tmp_path / "pairs.jsonl"
    write_pairs(pairs)
    for run, ranks in ((one, None), (two, 2)):
        arguments = ("--data.path", pairs, "--max-steps", 4, "--batch-size", 7, *TINY_MODEL)
        finished("sft", "--output-dir", run.root, *arguments, ranks=ranks)
    for name, weights in load_file(one.checkpoint(4) / "model.safetensors").items():
        torch.testing.assert_close(load_file(two.checkpoint(4) / "model.safetensors")[name], weights)
    for ours, theirs in zip(metrics(one), metrics(two), strict=True):
        for name in {"loss", "validation/loss", "optimizer/grad_norm", "data/tokens"} & set(ours):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-5), name


def test_the_validation_loss_falls(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    finished("sft", "--output-dir", tmp_path, "--max-steps", 30, "--validation-interval", 10, *SMALL)
    losses = [line["validation/loss"] for line in metrics(run) if "validation/loss" in line]
    assert len(losses) == 4 and losses == sorted(losses, reverse=True)


def test_fewer_sequences_than_ranks_are_refused(tmp_path: Path) -> None:
    output = finished("sft", "--output-dir", tmp_path, "--batch-size", 1, *TINY_MODEL, ranks=2, exit_code=1)
    assert "batch_size 1 is too small for 2 ranks" in output


def test_a_first_attempt_does_not_write_over_checkpoints_that_are_there(tmp_path: Path) -> None:
    RunDir(tmp_path).checkpoint(5).mkdir(parents=True)
    output = finished("sft", "--output-dir", tmp_path, *SMALL, exit_code=1)
    assert "checkpoints of an earlier run" in output and "--attempt 2" in output


def test_a_checkpoint_that_does_not_fit_is_refused_with_both_shapes(tmp_path: Path) -> None:
    finished("sft", "--output-dir", tmp_path, "--max-steps", 1, *SMALL)
    other = ("--attempt", 2, *SMALL, "--model.dim", 32)
    output = finished("sft", "--output-dir", tmp_path, *other, exit_code=1)
    assert "cannot continue from" in output and "dim=16" in output and "dim=32" in output
