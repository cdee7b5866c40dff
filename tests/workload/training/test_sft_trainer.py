import json
import pickle
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from launcher.checkpoints import steps_in
from launcher.config.training import CheckpointConfig, DataConfig, OptimizerConfig, SFTTrainerConfig
from launcher.errors import UserError
from launcher.logger import get_logger
from launcher.rundir import RunDir
from launcher.workload.metric_names import SFT_TRAINER
from launcher.workload.models.tiny import END_TOKEN, make_tiny
from launcher.workload.ranks import World
from launcher.workload.training import sft_trainer
from launcher.workload.training.sft_trainer import train
from tests.waiting import until
from tests.workload.conftest import Run
from tests.workload.running import SHAPE, TINY, TINY_MODEL, finished, has_step, model_bytes, started
from tests.workload.training.checking import assert_same_weights

DATA = DataConfig(train_pairs=200, validation_pairs=5)
SMALL = ("--batch-size", 6, "--data.train-pairs", 200, "--data.validation-pairs", 5, *TINY_MODEL)


def config(run: RunDir, **settings: Any) -> SFTTrainerConfig:
    small: dict[str, Any] = {"model": TINY, "data": DATA, "batch_size": 6}
    return SFTTrainerConfig(output_dir=run.root, attempt=run.attempt, **(small | settings))


def metrics(run: RunDir) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.metrics("trainer").read_text().splitlines()]


def write_pairs(path: Path) -> None:
    """Pairs of very different lengths, so that ranks have different numbers of tokens."""
    pairs = [{"prompt": f"{n}>", "completion": "x" * (n % 20)} for n in range(50)]
    path.write_text("\n".join(json.dumps(pair) for pair in pairs))


def test_a_killed_run_that_is_continued_ends_with_the_same_bytes(tmp_path: Path, run_here: Run) -> None:
    whole, killed = RunDir(tmp_path / "whole"), RunDir(tmp_path / "killed")
    arguments = ("--max-steps", 100_000, "--checkpoint.interval", 50, *SMALL)  # it does not end before the kill
    with started("sft", "--output-dir", killed.root, *arguments) as process:
        until(lambda: has_step(killed.metrics("trainer"), 70))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=240)
    steps = steps_in(killed.checkpoints)[-1] + 60  # the learning rate is constant, whatever the last step is
    run_here(train, config(whole, max_steps=steps))
    run_here(train, config(RunDir(killed.root, attempt=2), max_steps=steps))
    assert model_bytes(killed, steps) == model_bytes(whole, steps)
    assert [line["step"] for line in metrics(killed)] == [line["step"] for line in metrics(whole)]


@pytest.mark.slow
def test_sigterm_ends_every_rank_with_a_checkpoint_of_the_step_in_hand(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with started("sft", "--output-dir", tmp_path, "--max-steps", 100_000, *SMALL, ranks=2) as process:
        until(lambda: has_step(run.metrics("trainer"), 5))
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=240)
    last = metrics(run)[-1]["step"]
    assert process.returncode != 0 and f"asked to end after {last} updates" in output
    assert (run.checkpoint(int(last)) / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_that_are_killed_and_continued_end_with_the_same_bytes(tmp_path: Path, parallel: str) -> None:
    whole, killed = RunDir(tmp_path / "whole"), RunDir(tmp_path / "killed")
    arguments = ("--checkpoint.interval", 10, "--parallel", parallel, *SMALL)
    endless = ("--max-steps", 100_000)  # it does not end before the kill
    with started("sft", "--output-dir", killed.root, *arguments, *endless, ranks=2) as process:
        until(lambda: has_step(killed.metrics("trainer"), 14))
        ranks = psutil.Process(process.pid).children(recursive=True)
        process.kill()  # before the ranks: it would end the second one itself
        for rank in ranks:
            with suppress(psutil.NoSuchProcess):  # a helper that has ended meanwhile
                rank.kill()
    steps = steps_in(killed.checkpoints)[-1] + 60
    for run, attempt in ((killed, 2), (whole, 1)):
        more = ("--max-steps", steps, "--attempt", attempt)
        finished("sft", "--output-dir", run.root, *arguments, *more, ranks=2)
    assert model_bytes(killed, steps) == model_bytes(whole, steps)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("ranks", "settings"),
    [
        (None, ("--max-tokens", 40)),
        (2, ("--parallel", "ddp")),
        (2, ("--parallel", "ddp", "--max-tokens", 40)),
        (2, ("--parallel", "fsdp")),
        (2, ("--parallel", "fsdp", "--max-tokens", 40)),
    ],
)
def test_ranks_and_micro_batches_learn_what_one_rank_learns_at_once(
    tmp_path: Path, run_here: Run, ranks: int | None, settings: tuple[object, ...]
) -> None:
    one, two, pairs = RunDir(tmp_path / "one"), RunDir(tmp_path / "two"), tmp_path / "pairs.jsonl"
    write_pairs(pairs)
    run_here(train, config(one, data=DataConfig(path=pairs), max_steps=4, batch_size=7))
    arguments = ("--data.path", pairs, "--max-steps", 4, "--batch-size", 7, *TINY_MODEL, *settings)
    finished("sft", "--output-dir", two.root, *arguments, ranks=ranks)
    assert_same_weights(one, two, step=4)
    for ours, theirs in zip(metrics(one), metrics(two), strict=True):
        for name in {"loss", "validation/loss", "optimizer/grad_norm", "data/tokens"} & set(ours):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-5), name


def test_the_validation_loss_falls_and_every_metric_is_documented(tmp_path: Path, run_here: Run) -> None:
    run = RunDir(tmp_path)
    run_here(train, config(run, max_steps=30, validation_interval=10))
    losses = [line["validation/loss"] for line in metrics(run) if "validation/loss" in line]
    assert len(losses) == 4 and losses == sorted(losses, reverse=True)
    assert metrics(run)[-1].keys() - {"step", "time"} == SFT_TRAINER.keys()


def test_an_attempt_that_starts_anew_logs_every_step_once(tmp_path: Path, run_here: Run) -> None:
    first, second = RunDir(tmp_path), RunDir(tmp_path, attempt=2)
    first.all_metrics.mkdir()
    first.metrics("trainer").write_text('{"step": 0, "time": 1}\n{"step": 1, "time": 2}\n{"step')
    run_here(train, config(second, max_steps=2))
    assert [line["step"] for line in metrics(second)] == [0, 1, 2]


def test_only_the_newest_checkpoints_stay(tmp_path: Path, run_here: Run) -> None:
    run_here(train, config(RunDir(tmp_path), max_steps=7, checkpoint=CheckpointConfig(interval=2, keep=3)))
    assert sorted(path.name for path in RunDir(tmp_path).checkpoints.iterdir()) == ["step_4", "step_6", "step_7"]


def test_a_checkpoint_that_is_asked_for_is_written_after_the_next_step(tmp_path: Path, run_here: Run) -> None:
    run = RunDir(tmp_path)
    run.checkpoint_request.touch()
    run_here(train, config(run, max_steps=3, checkpoint=CheckpointConfig(interval=0)))
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step_1", "step_3"]
    assert not run.checkpoint_request.exists()


def test_a_gradient_that_is_not_finite_changes_no_weight(
    tmp_path: Path, run_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = RunDir(tmp_path / "one"), RunDir(tmp_path / "two")
    run_here(train, config(one, max_steps=1))
    calls = 0
    honest = sft_trainer.token_losses

    def broken(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        if not torch.is_grad_enabled():
            return honest(logits, targets)
        calls += 1
        return honest(logits, targets) * (1 if calls == 1 else float("nan"))

    monkeypatch.setattr(sft_trainer, "token_losses", broken)
    run_here(train, config(two, max_steps=2))
    assert calls == 2
    assert model_bytes(one, 1) == model_bytes(two, 2)


def test_a_run_without_a_usable_gradient_so_far_is_continued(
    tmp_path: Path, run_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = sft_trainer.token_losses
    monkeypatch.setattr(sft_trainer, "token_losses", lambda *found: honest(*found) * float("nan"))
    run_here(train, config(RunDir(tmp_path / "run"), max_steps=1))
    monkeypatch.setattr(sft_trainer, "token_losses", honest)
    run_here(train, config(RunDir(tmp_path / "run", attempt=2), max_steps=3))
    assert RunDir(tmp_path / "run").checkpoint(3).is_dir()


def test_a_run_whose_gradients_stay_infinite_ends_with_what_to_type(tmp_path: Path, run_here: Run) -> None:
    hot = OptimizerConfig(lr=1e30, warmup_steps=0)
    with pytest.raises(UserError, match="gradients of 5 steps in a row are not finite") as raised:
        run_here(train, config(RunDir(tmp_path), max_steps=30, optimizer=hot))
    assert "lower --trainer.optimizer.lr" in str(raised.value)


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path, run_here: Run) -> None:
    run = RunDir(tmp_path)
    run_here(train, config(run, max_steps=2))
    assert run_here(train, config(RunDir(tmp_path, attempt=2), max_steps=2)) == 0
    assert [line["step"] for line in metrics(run)] == [0, 1, 2]


def test_a_run_that_goes_on_with_other_data_says_so_once(tmp_path: Path, run_here: Run) -> None:
    run, pairs, said = RunDir(tmp_path / "run"), tmp_path / "pairs.jsonl", list[str]()
    write_pairs(pairs)
    listener = get_logger().add(said.append, level="WARNING", format="{message}")
    for attempt in range(1, 5):
        if attempt == 3:
            assert not said
            with pairs.open("a") as file:
                file.write('\n{"prompt": "new>", "completion": "y"}')
        run_here(train, config(RunDir(run.root, attempt=attempt), data=DataConfig(path=pairs), max_steps=attempt))
    get_logger().remove(listener)
    [warning] = said
    assert warning.startswith("the data are not those of the 2 steps so far")


def test_fewer_sequences_than_ranks_are_refused(tmp_path: Path, run_here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def first_of_eight(*_: object) -> Iterator[World]:
        yield World(0, 8, torch.device("cpu"))

    monkeypatch.setattr(sft_trainer, "join_ranks", first_of_eight)
    with pytest.raises(UserError, match="batch_size 6 is too small for 8 ranks"):
        run_here(train, config(RunDir(tmp_path)))


def test_a_first_attempt_does_not_write_over_checkpoints_that_are_there(tmp_path: Path, run_here: Run) -> None:
    RunDir(tmp_path).checkpoint(5).mkdir(parents=True)
    with pytest.raises(UserError, match="checkpoints of an earlier run") as refused:
        run_here(train, config(RunDir(tmp_path)))
    assert "--attempt 2" in str(refused.value)


def test_a_checkpoint_that_does_not_fit_is_refused_with_both_shapes(tmp_path: Path, run_here: Run) -> None:
    make_tiny(RunDir(tmp_path).checkpoint(5), SHAPE.model_copy(update={"dim": 32}), seed=0)
    with pytest.raises(UserError, match=r"cannot continue from .*step_5.*dim=32.*dim=16"):
        run_here(train, config(RunDir(tmp_path, attempt=2)))


def test_a_checkpoint_is_a_model_that_transformers_loads(tmp_path: Path, run_here: Run) -> None:
    run = RunDir(tmp_path)
    run_here(train, config(run, max_steps=1))
    model = AutoModelForCausalLM.from_pretrained(run.checkpoint(1))
    for name, tensor in load_file(run.checkpoint(1) / "model.safetensors").items():
        torch.testing.assert_close(model.state_dict()[name], tensor)
    ours, theirs = (AutoTokenizer.from_pretrained(path) for path in (run.model, run.checkpoint(1)))
    chat = [{"role": "user", "content": "hé"}, {"role": "assistant", "content": "ok"}]
    assert ours.apply_chat_template(chat) == theirs.apply_chat_template(chat)
    assert GenerationConfig.from_pretrained(run.checkpoint(1)).eos_token_id == ours.eos_token_id == END_TOKEN


COMMAND = pickle.dumps(partial(print, "run by a pickle"))


@pytest.mark.parametrize("left", [None, b"", b"no pickle", pickle.dumps({}), COMMAND])
def test_a_checkpoint_without_its_optimizer_is_refused(tmp_path: Path, run_here: Run, left: bytes | None) -> None:
    checkpoint = RunDir(tmp_path).checkpoint(5)
    make_tiny(checkpoint, SHAPE, seed=0)
    if left is not None:
        (checkpoint / "resume").mkdir()
        (checkpoint / "resume" / ".metadata").write_bytes(left)
    with pytest.raises(UserError, match=r"cannot continue from .*resume"):
        run_here(train, config(RunDir(tmp_path, attempt=2)))
