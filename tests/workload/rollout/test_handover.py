from pathlib import Path

import numpy as np
import torch

from launcher.rundir import RunDir
from launcher.workload.files import appearing
from launcher.workload.models.weights import save_weights
from launcher.workload.rollout.handover import (
    Batch,
    Sample,
    has_batch,
    has_weights,
    make_batch,
    newest_weights,
    read_batch,
    sample_of,
    write_batch,
)

SAMPLES = [
    sample_of([9, 1], [2, 9], [-0.5, -0.25], policy_step=3),
    Sample([9, 1, 4, 5, 6], [False, True, False, True, True], [0.0, -1.0, 0.0, -2.0, -3.0], policy_step=2),
]


def batch_of(advantages: tuple[float, float] = (0.0, 0.0)) -> Batch:
    return make_batch(SAMPLES, advantages, temperature=0.7)


def publish(run: RunDir, step: int) -> None:
    with appearing(run.weights(step)) as draft:
        save_weights({"weight": torch.zeros(1)}, draft, attempt=run.attempt)


def test_a_batch_comes_back_as_it_was_written(tmp_path: Path) -> None:
    run, batch = RunDir(tmp_path), batch_of((0.5, -0.5))
    write_batch(run, 4, batch)
    read = read_batch(run, 4)
    assert read.temperature == 0.7
    for name in ("lengths", "tokens", "loss_mask", "logprobs", "advantages", "policy_steps"):
        np.testing.assert_array_equal(getattr(read, name), getattr(batch, name))


def test_samples_stand_one_behind_the_other_and_only_sampled_tokens_are_learned() -> None:
    batch = batch_of()
    assert batch.lengths.tolist() == [4, 5]
    assert batch.tokens.tolist() == [9, 1, 2, 9, 9, 1, 4, 5, 6]
    assert batch.loss_mask.tolist() == [0, 0, 1, 1, 0, 1, 0, 1, 1]
    assert batch.logprobs.tolist() == [0, 0, -0.5, -0.25, 0, -1, 0, -2, -3]
    assert batch.policy_steps.tolist() == [3, 2]
    assert [sample.completion for sample in SAMPLES] == [[2, 9], [1, 5, 6]]


def test_what_another_attempt_has_left_is_not_taken(tmp_path: Path) -> None:
    old, new = RunDir(tmp_path, 1), RunDir(tmp_path, 2)
    write_batch(old, 1, batch_of())
    publish(old, 1)
    assert has_batch(old, 1) and has_weights(old, 1)
    assert not has_batch(new, 1) and not has_weights(new, 1)


def test_the_newest_weights_in_the_allowed_range_are_found(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for step in (3, 4, 6):
        publish(run, step)
    assert [newest_weights(run, *span) for span in ((0, 2), (2, 3), (3, 5), (5, 9))] == [None, 3, 4, 6]
