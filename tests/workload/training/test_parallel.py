from functools import partial
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen3NextConfig

from launcher.config.training import LoraConfig, TrainerSettings
from launcher.workload.models.weights import tensors_of
from launcher.workload.ranks import World
from launcher.workload.training.lora import add_adapters, merged
from launcher.workload.training.parallel import ParallelScorer, decoder_layers
from launcher.workload.training.rows import micro_batches
from launcher.workload.training.scorer import Scorer, Scoring
from tests.workload.training.test_rows import SHAPES, SMALL
from tests.workload.training.test_scorer import BATCH, WEIGHTS, terms

ALONE = World(0, 1, torch.device("cpu"))


def made(shape: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(SHAPES[shape]).eval()


def gradients(shape: str, **settings: Any) -> dict[str, torch.Tensor]:
    model = made(shape)
    parallel = ParallelScorer(Scorer(model), ALONE, TrainerSettings(**settings))
    (row,) = micro_batches(BATCH, 0, 1, 1000)
    loss, _ = parallel(row, Scoring(terms, WEIGHTS))
    parallel.backward(loss)
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_architecture_has_its_decoder_layers_found(shape: str) -> None:
    assert len(decoder_layers(made(shape))) == 3


@pytest.mark.parametrize("shape", SHAPES)
def test_activation_checkpointing_changes_no_gradient(shape: str) -> None:
    whole, again = gradients(shape), gradients(shape, activation_checkpointing=True)
    assert whole.keys() == again.keys()
    for name, gradient in whole.items():
        assert torch.equal(gradient, again[name]), name


def test_activations_are_computed_again_in_the_backward_pass() -> None:
    model, calls = made("llama"), 0
    inner = decoder_layers(model)[0].mlp

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    inner.register_forward_pre_hook(count)
    parallel = ParallelScorer(Scorer(model), ALONE, TrainerSettings(activation_checkpointing=True))
    (row,) = micro_batches(BATCH, 0, 1, 1000)
    parallel.backward(parallel(row, Scoring(terms, WEIGHTS))[0])
    assert calls == 2


@pytest.mark.filterwarnings("ignore")  # torch._dynamo's own
def test_compiled_layers_have_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # no C++ compiler is needed
    whole, compiled = gradients("llama"), gradients("llama", compile=True, activation_checkpointing=True)
    for name, gradient in whole.items():
        torch.testing.assert_close(compiled[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_bfloat16_arithmetic_keeps_float32_weights_and_gradients() -> None:
    found = gradients("llama", model={"dtype": "bfloat16"})
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}
    exact = gradients("llama")
    for name, gradient in found.items():
        assert (gradient - exact[name]).norm() < 0.05 * exact[name].norm(), name
        assert not torch.equal(gradient, exact[name]), name


def test_bfloat16_arithmetic_keeps_no_copies_of_weights() -> None:
    """Autocast's cache would keep one of the head for each part of the logits."""
    parallel = ParallelScorer(Scorer(made("llama")), ALONE, TrainerSettings(model={"dtype": "bfloat16"}))
    seen = []

    def looked_at(logits: torch.Tensor, at: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append((torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()))
        return terms(logits, at)

    (row,) = micro_batches(BATCH, 0, 1, 1000)
    parallel(row, Scoring(looked_at, WEIGHTS))
    assert seen == [(True, False)]


@pytest.mark.parametrize("shape", SHAPES)
def test_adapters_that_are_merged_are_the_model_that_was_trained(shape: str) -> None:
    pytest.importorskip("peft")
    model, names = made(shape), set(made(shape).state_dict())
    before = {name: one.clone() for name, one in model.state_dict().items()}
    add_adapters(model, LoraConfig(rank=4))
    parallel = ParallelScorer(Scorer(model, has_adapters=True), ALONE, TrainerSettings())
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert trained and all(".lora_" in name for name in trained)
    for name, one in model.named_parameters():
        if name in trained:
            torch.nn.init.normal_(one, std=0.1)
    whole, tokens = parallel.weights(), torch.arange(10)[None]
    assert whole.keys() <= names
    plain = made(shape)
    plain.load_state_dict(whole, strict=False)
    with torch.no_grad():
        expected = model(input_ids=tokens).logits
        torch.testing.assert_close(plain(input_ids=tokens).logits, expected, atol=1e-5, rtol=1e-4)
    changed = {name for name, one in whole.items() if not torch.equal(one, before[name])}
    assert changed and not any("embed" in name or "norm" in name or "lm_head" in name for name in changed)


def test_experts_get_no_adapters_and_are_merged_as_they_were() -> None:
    """peft would adapt the weights that hold all experts together, though nobody merges those."""
    pytest.importorskip("peft")
    small = SMALL | {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
    experts = Qwen3NextConfig(**small, layer_types=["full_attention"] * 3, shared_expert_intermediate_size=16)
    model = AutoModelForCausalLM.from_config(experts)
    add_adapters(model, LoraConfig(rank=4))
    adapted = {name.partition(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}
    assert any(name.endswith("shared_expert.up_proj") for name in adapted)
    assert not any(name.endswith(".experts") for name in adapted)
    before = AutoModelForCausalLM.from_config(experts).state_dict().keys()
    assert merged(model, tensors_of(model)).keys() == before
