from pathlib import Path

import numpy as np
from launcher.workload.tokens import END
from launcher.workload.weights import build_model, save_model

from launcher.rundir import RunDir
from launcher.workload.files import appearing
from launcher.workload.rollout.handover import (
    Sample,
    has_batch,
    has_weights,
    make_batch,
    newest_weights,
    read_batch,
    write_batch,
)
from tests.workload.running import TINY

SAMPLES = [Sample([END, 1], [2, END], [-0.5, -0.25]), Sample([END, 1, 1], [3, 4, END], [-1.0, -2.0, -3.0])]


def publish(run: RunDir, step: int) -> None:
    with appearing(run.weights(step)) as draft:
        save_model(build_model(TINY, 0), draft, attempt=run.attempt)


def test_a_batch_comes_back_as_it_was_written(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    batch = make_batch(SAMPLES, [0.5, -0.5], policy_step=3, temperature=0.7)
    write_batch(run, 4, batch)
    read = read_batch(run, 4)
    assert (read.policy_step, read.temperature) == (3, 0.7)
    for name in ("tokens", "loss_mask", "logprobs", "advantages"):
        np.testing.assert_array_equal(getattr(read, name), getattr(batch, name))


def test_samples_of_different_length_are_padded_at_the_end() -> None:
    batch = make_batch(SAMPLES, [0.0, 0.0], 0, 1.0)
    assert batch.tokens.tolist() == [[END, 1, 2, END, END, END], [END, 1, 1, 3, 4, END]]
    assert batch.loss_mask.tolist() == [[0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]]
    assert batch.logprobs.tolist() == [[0, 0, -0.5, -0.25, 0, 0], [0, 0, 0, -1, -2, -3]]


def test_what_another_attempt_has_left_is_not_taken(tmp_path: Path) -> None:
    old, new = RunDir(tmp_path, 1), RunDir(tmp_path, 2)
    write_batch(old, 1, make_batch(SAMPLES, [0.0, 0.0], 0, 1.0))
    publish(old, 1)
    assert has_batch(old, 1) and has_weights(old, 1)
    assert not has_batch(new, 1) and not has_weights(new, 1)


def test_the_newest_weights_in_the_allowed_range_are_found(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for step in (3, 4, 6):
        publish(run, step)
    assert [newest_weights(run, *span) for span in ((0, 2), (2, 3), (3, 5), (5, 9))] == [None, 3, 4, 6]
