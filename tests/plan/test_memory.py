import re
from dataclasses import replace
from pathlib import Path

from launcher.plan.memory import ModelSize, Training, serving_memory, tokens_at_once, training_memory
from launcher.plan.render import render
from tests.plans import machine, plan_of, sft

QWEN3_8B = ModelSize(
    layers=36,
    width=4096,
    queries=4096,
    keys=1024,
    inner=12288,
    all_inner=12288,
    matrices=3,
    vocabulary=151936,
    positions=0,
    is_tied=False,
)
EIGHT = Training(ranks=8, is_sharded=True, tokens=8192, recomputes=True)
GB = 1e9


def test_adamw_keeps_sixteen_bytes_a_parameter_and_shards_divide_them() -> None:
    memory = training_memory(QWEN3_8B, EIGHT)
    kept = memory.gradients + memory.optimizer
    assert kept == 12 * QWEN3_8B.parameters // 8
    whole = training_memory(QWEN3_8B, replace(EIGHT, is_sharded=False))
    assert whole.optimizer == 8 * QWEN3_8B.parameters
    assert memory.total < 80 * GB < whole.total


def test_an_adapter_needs_hardly_any_gradients_and_moments() -> None:
    memory = training_memory(QWEN3_8B, replace(EIGHT, adapter=16))
    assert memory.gradients + memory.optimizer < 0.2 * GB
    assert memory.total < training_memory(QWEN3_8B, EIGHT).total


def test_recomputed_layers_keep_one_residual_stream_each() -> None:
    kept = training_memory(QWEN3_8B, replace(EIGHT, recomputes=False)).activations
    recomputed = training_memory(QWEN3_8B, EIGHT).activations
    assert recomputed < kept / 4
    assert recomputed > 2 * 8192 * 36 * 4096


def test_logits_are_never_whole_but_those_of_enough_tokens_for_each_pass_over_the_head() -> None:
    assert tokens_at_once(259) == 16_194
    assert tokens_at_once(QWEN3_8B.vocabulary) == 512
    more = training_memory(QWEN3_8B, replace(EIGHT, tokens=16_384)).activations
    layers = 2 * 8192 * (36 * 4096 + 6 * 4096 + 2 * (4096 + 1024) + 3 * 12288)
    assert more - training_memory(QWEN3_8B, EIGHT).activations == layers  # nothing for the logits


def test_a_server_keeps_its_weights_in_two_bytes_divided_by_its_gpus() -> None:
    assert serving_memory(QWEN3_8B, 1) == 2 * QWEN3_8B.parameters
    assert serving_memory(QWEN3_8B, 2) == QWEN3_8B.parameters


def test_dry_run_says_what_each_rank_takes_and_warns_when_it_cannot_fit() -> None:
    asked = sft("--nproc", "8", "--trainer.max-tokens", "8192", "--trainer.activation-checkpointing")
    plan = plan_of(asked, machine(8, gpu_memory=80 * 10**9, model=QWEN3_8B))
    rendered = render(plan, Path("/"), files_are_written=False)
    assert f"#   memory {training_memory(QWEN3_8B, EIGHT)}" in rendered
    assert not plan.notes
    plan = plan_of(asked, machine(8, gpu_memory=20 * 10**9, model=QWEN3_8B))
    assert re.match(r"the trainer will take about \d\d GB of each GPU, which has 20: try more ranks, ", plan.notes[0])


def test_what_is_not_known_is_not_said() -> None:
    assert all(spec.memory is None for spec in plan_of(sft()).processes)
    own = plan_of(sft("--trainer.module", "own"), machine(model=QWEN3_8B))
    assert all(spec.memory is None for spec in own.processes)
