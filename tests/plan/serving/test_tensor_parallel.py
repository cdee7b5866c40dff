from dataclasses import replace

import pytest

from launcher.errors import UserError
from launcher.plan.memory import ModelSize
from launcher.plan.serving.tensor_parallel import divisors, obstacle_to
from tests.plans import component, machine, plan_of, rl

QWEN2_5_0_5B = ModelSize(
    layers=24,
    width=896,
    heads=14,
    key_heads=2,
    head=64,
    inner=4864,
    all_inner=4864,
    matrices=3,
    vocabulary=151936,
    positions=0,
    is_tied=True,
)
QWEN = ("--model", "Qwen/Qwen2.5-0.5B", "--inference.engine", "vllm")


def possible(size: ModelSize) -> list[int]:
    return [parts for parts in range(1, 129) if obstacle_to(size, parts) is None]


def test_a_split_that_vllm_would_refuse_late_is_refused_in_the_plan_with_those_that_it_takes() -> None:
    there = machine(8, vllm="/vllm/bin/vllm", model_path="Qwen/Qwen2.5-0.5B", model=QWEN2_5_0_5B)
    with pytest.raises(UserError) as refused:
        plan_of(rl(*QWEN, "--inference.tensor-parallel", "4"), there)
    assert "Qwen/Qwen2.5-0.5B among 4 GPUs, with 14 attention heads" in str(refused.value)
    assert "--inference.tensor-parallel is 1 or 2; --inference.data-parallel adds whole copies" in str(refused.value)
    for asked in (("--inference.tensor-parallel", "2"), ("--inference.data-parallel", "3")):
        assert component(plan_of(rl(*QWEN, *asked), there), "inference")


def test_heads_key_value_heads_feed_forward_layers_and_the_padded_vocabulary_must_split() -> None:
    assert obstacle_to(QWEN2_5_0_5B, 4) == "14 attention heads"
    assert obstacle_to(QWEN2_5_0_5B, 7) == "2 key-value heads"
    assert obstacle_to(QWEN2_5_0_5B, 14) == "feed-forward layers of 4864"
    three = replace(QWEN2_5_0_5B, heads=12, key_heads=3, inner=4608, all_inner=4608, vocabulary=1000)
    assert obstacle_to(three, 3) == "a vocabulary of 1024 (a multiple of 64)"
    assert possible(three) == [1]
    assert possible(replace(three, vocabulary=1100)) == [1, 3, 6, 12]  # padded to 1152


def test_key_value_heads_are_copied_where_there_are_fewer_than_gpus() -> None:
    assert possible(replace(QWEN2_5_0_5B, heads=16, key_heads=2)) == divisors(16)


def test_the_feed_forward_layers_of_experts_are_left_to_vllm() -> None:
    assert possible(replace(QWEN2_5_0_5B, heads=16, inner=8 * 100, all_inner=128 * 100)) == divisors(16)


def test_tiny_is_checked_by_its_heads_and_a_model_that_is_not_here_is_left_to_vllm() -> None:
    there = machine(8, vllm="/vllm/bin/vllm")
    asked = ("--inference.engine", "vllm", "--inference.tensor-parallel", "3")
    with pytest.raises(UserError, match=r"cannot split tiny among 3 GPUs, with 4 attention heads"):
        plan_of(rl(*asked), there)
    plan = plan_of(rl(*asked, "--model", "Qwen/Qwen3-4B"), replace(there, model_path="Qwen/Qwen3-4B"))
    assert "--tensor-parallel-size" in component(plan, "inference").argv
