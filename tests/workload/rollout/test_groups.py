import math

import pytest
from launcher.workload.tokens import END, encode

from launcher.errors import UserError
from launcher.workload.rollout.groups import RolloutGroup, group_metrics, score
from launcher.workload.rollout.handover import Sample
from launcher.workload.task import ReverseText


def samples(*texts: str) -> list[Sample]:
    return [Sample([END], [*encode(text), END], [-1.0] * (len(text) + 1)) for text in texts]


def group(*rewards: float) -> RolloutGroup:
    return RolloutGroup("p", samples(*["x" * 3] * len(rewards)), list(rewards))


def test_advantages_are_relative_to_the_group() -> None:
    assert group(0.0, 1.0).advantages == pytest.approx([-1.0, 1.0], abs=1e-3)
    assert sum(group(0.1, 0.5, 0.9, 0.2).advantages) == pytest.approx(0)


def test_a_group_of_equal_rewards_has_nothing_to_teach() -> None:
    assert group(0.4, 0.4, 0.4).advantages == pytest.approx([0, 0, 0])
    assert not group(0.4, 0.4).has_signal


def test_scoring_gives_every_sample_its_reward() -> None:
    assert score(ReverseText(), "abcde>", samples("edcba", "edxxx")).rewards == [1.0, 0.4]


def test_a_reward_that_is_no_number_is_an_error_that_names_the_prompt() -> None:
    class Broken(ReverseText):
        def reward(self, prompt: str, completion: str) -> float:
            return math.nan

    with pytest.raises(UserError, match="abcde>"):
        score(Broken(), "abcde>", samples("x"))


def test_metrics_count_solved_and_silent_groups() -> None:
    metrics = group_metrics([group(1.0, 1.0), group(0.0, 1.0), group(0.0, 0.0), group(0.5, 0.5)])
    assert (metrics["groups/solved"], metrics["groups/without_signal"]) == (0.25, 0.75)
    assert (metrics["reward/mean"], metrics["reward/min"], metrics["reward/max"]) == (0.5, 0.0, 1.0)
    assert metrics["completion/length"] == 4
