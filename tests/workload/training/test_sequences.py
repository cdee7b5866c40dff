import numpy as np

from launcher.workload.training.sequences import sequences_of


def test_each_sequence_says_where_its_first_and_its_last_learned_token_are() -> None:
    weights = np.array([0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 1, 0], np.bool_)
    first, last = sequences_of(np.array([5, 2, 5], np.int32), np.arange(12, dtype=np.int32), weights).learned
    assert first.tolist() == [2, 0, 1] and last.tolist() == [3, 0, 3]


def test_the_first_token_of_a_sequence_is_not_learned() -> None:
    found = sequences_of(np.array([2, 3], np.int32), np.arange(5, dtype=np.int32), np.ones(5, np.bool_))
    assert found.weights.tolist() == [0, 1, 0, 1, 1]
