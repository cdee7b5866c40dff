import numpy as np
import pytest

from launcher.config.training import DataConfig
from launcher.workload.training.examples import Example, collate, rows_of_step, split


def example(prompt: int, completion: int) -> Example:
    """One of so many tokens."""
    tokens = np.arange(prompt + completion, dtype=np.int32)
    return Example(tokens, tokens >= prompt)


def test_a_batch_weighs_all_learned_tokens_alike() -> None:
    batch = collate([example(2, 2), example(1, 4), example(0, 3)])
    assert batch.lengths.tolist() == [4, 5, 3]
    assert batch.weights[batch.weights > 0].tolist() == pytest.approx([1 / 8] * 8)  # nothing stands before the first


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_both_parts_of_a_split_have_something(share: float) -> None:
    train, held_out = split([example(1, 1)] * 3, DataConfig(validation_share=share), seed=0)
    assert train and held_out


def test_every_example_comes_once_in_each_pass() -> None:
    rows = [row for step in range(1, 6) for row in rows_of_step(0, step, count=4, total=10)]
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert rows[:10] != rows[10:]


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert sorted(rows_of_step(0, 1, count=5, total=2)) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])
