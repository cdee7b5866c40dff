import re
from dataclasses import replace
from pathlib import Path

from launcher.plan.memory import ModelSize, Training, serving_memory, tokens_at_once, training, training_memory
from launcher.plan.render import render
from tests.plans import machine, plan_of, rl, sft

QWEN3_8B = ModelSize(
    layers=36,
    width=4096,
    heads=32,
    key_heads=8,
    head=128,
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
    bfloat16 = ("--trainer.model.dtype", "bfloat16")
    asked = sft("--nproc", "8", "--trainer.max-tokens", "8192", "--trainer.activation-checkpointing", *bfloat16)
    plan = plan_of(asked, machine(8, gpu_memory=80 * 10**9, model=QWEN3_8B))
    rendered = render(plan, Path("/"), files_are_written=False)
    assert f"#   memory {training_memory(QWEN3_8B, EIGHT)}" in rendered
    assert not plan.notes
    plan = plan_of(asked, machine(8, gpu_memory=20 * 10**9, model=QWEN3_8B))
    assert re.match(r"the trainer will take about \d\d GB of each GPU, which has 20: try more ranks, ", plan.notes[0])


def test_float32_takes_twice_as_much_for_all_but_what_is_float32_anyway() -> None:
    half, full = (training_memory(QWEN3_8B, replace(EIGHT, number=number)) for number in (2, 4))
    assert (full.gradients, full.optimizer) == (half.gradients, half.optimizer)
    logits_and_head = 4 * (3 * 512 + 4096) * QWEN3_8B.vocabulary
    assert full.activations - logits_and_head == 2 * (half.activations - logits_and_head)
    weights = 4 * QWEN3_8B.parameters // 8
    assert full.weights - weights == 2 * (half.weights - weights)
    assert training(sft().trainer, 8).number == 4


def test_the_model_that_the_kl_divergence_is_to_stays_in_memory() -> None:
    with_kl = training(rl("--trainer.loss.kl", "0.1").trainer, 8)
    assert with_kl.has_reference and not training(rl().trainer, 8).has_reference
    more = training_memory(QWEN3_8B, replace(EIGHT, has_reference=True)).weights
    assert more - training_memory(QWEN3_8B, EIGHT).weights == 4 * QWEN3_8B.parameters // 8


def test_on_a_gpu_that_vllm_shares_there_is_less_room() -> None:
    words = ("--inference.engine", "vllm", "--inference.gpus", "8", "--inference.share-gpus", "--inference.gpu-memory")
    facts = {"model": QWEN3_8B, "gpu_memory": 80 * 10**9, "vllm": "/vllm/bin/vllm", "model_path": "Qwen/Qwen3-8B"}
    quick = ("--model", "Qwen/Qwen3-8B", "--nproc", "8", "--trainer.max-tokens", "1024")
    for share, fits in (("0.2", True), ("0.8", False)):
        notes = plan_of(rl(*quick, *words, share), machine(8, **facts)).notes
        assert any("and vLLM takes 80% of it (inference.gpu_memory)" in note for note in notes) is not fits


def test_what_is_not_known_is_not_said() -> None:
    assert all(spec.memory is None for spec in plan_of(sft()).processes)
    own = plan_of(sft("--trainer.module", "own"), machine(model=QWEN3_8B))
    assert all(spec.memory is None for spec in own.processes)
