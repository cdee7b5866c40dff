from dataclasses import replace

import pytest

from launcher.workload.rollout.groups import Rollout, RolloutGroup, evaluation_metrics, group_metrics
from launcher.workload.rollout.handover import Sample


def group(*rewards: float, index: int = 0, policy_step: int = 0, cut: bool = False) -> RolloutGroup:
    """A group whose rollouts have a prompt of one token and a completion of three."""
    sample = Sample([1, 2, 3, 4], [False, True, True, True], [0.0, -1.0, -1.0, -1.0], policy_step)
    return RolloutGroup(index, "p", [Rollout([sample], "x", cut, reward) for reward in rewards])


def test_advantages_are_relative_to_the_group() -> None:
    assert group(0.0, 1.0).advantages("std") == pytest.approx([-1.0, 1.0], abs=1e-3)
    assert sum(group(0.1, 0.5, 0.9, 0.2).advantages("std")) == pytest.approx(0)


def test_without_division_a_group_that_is_nearly_solved_weighs_no_more_than_others() -> None:
    assert group(0.0, 1.0, 1.0, 1.0).advantages("mean") == pytest.approx([-0.75, 0.25, 0.25, 0.25])


@pytest.mark.parametrize("kind", ["std", "mean"])
def test_a_group_of_equal_rewards_has_nothing_to_teach(kind: str) -> None:
    assert group(0.4, 0.4, 0.4).advantages(kind) == pytest.approx([0, 0, 0])  # type: ignore[arg-type]
    assert not group(0.4, 0.4).has_signal


def test_metrics_count_solved_and_silent_groups_and_cut_completions() -> None:
    groups = [group(1.0, 1.0, cut=True), group(0.0, 1.0), group(0.0, 0.0), group(0.5, 0.5)]
    metrics = group_metrics(groups)
    assert (metrics["groups/solved"], metrics["groups/without_signal"]) == (0.25, 0.75)
    assert (metrics["reward/mean"], metrics["reward/min"], metrics["reward/max"]) == (0.5, 0.0, 1.0)
    assert (metrics["completion/length"], metrics["completion/cut"]) == (3, 0.25)


def test_chat_messages_are_described_as_text() -> None:
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    described = RolloutGroup(7, chat, group(0.0, 1.0).rollouts).describe("mean")
    assert described[1] == {
        "problem": 7,
        "prompt": "system: be brief\nuser: hi",
        "completion": "x",
        "reward": 1.0,
        "advantage": 0.5,
        "tokens": 3,
        "policy_step": 0,
    }


def test_an_evaluation_says_the_average_and_the_share_of_prompts_that_some_sample_solves() -> None:
    groups = [group(0.0, 1.0), group(0.5, 0.5), group(1.0, 1.0), group(0.0, 0.0, cut=True)]
    found = evaluation_metrics(groups)
    assert found == {"evaluation/reward": 0.5, "evaluation/solved": 0.5, "evaluation/cut": 0.25}
    assert evaluation_metrics(groups, "aime").keys() == {
        f"evaluation/aime/{name}" for name in ("reward", "solved", "cut")
    }


def test_a_rollout_whose_conversation_was_rewritten_teaches_by_each_of_its_sequences() -> None:
    first, second = group(0.0, 1.0).rollouts
    older = Sample([1, 2], [False, True], [0.0, -1.0], policy_step=-1)
    rewritten = replace(second, sequences=[*second.sequences, older])
    both = RolloutGroup(0, "p", [first, rewritten])
    assert [advantage for _, advantage in both.learned("mean")] == [-0.5, 0.5, 0.5]
    assert (rewritten.length, both.policy_step) == (4, -1)


def test_metrics_of_the_task_are_averaged_over_the_rollouts_that_have_them() -> None:
    first, second = group(0.0, 1.0).rollouts
    known = RolloutGroup(0, "p", [replace(first, metrics={"turns": 2.0}), second])
    metrics = group_metrics([known, RolloutGroup(1, "p", [replace(first, metrics={"turns": 4.0})])])
    assert metrics["task/turns"] == 3.0
