from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from launcher.errors import UserError
from launcher.workload.models.load import load_model
from launcher.workload.models.weights import as_in_files, read_update, save_weights, take_update, tensors_of
from tests.workload.running import SHAPE, publish, tiny


def weights_equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def tied(seed: int) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=30, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=32, tie_word_embeddings=True,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).eval()


def test_an_update_makes_another_model_the_one_that_was_published(tmp_path: Path) -> None:
    for one, other in ((tiny(1), tiny(2)), (tied(1), tied(2))):
        publish(one, tmp_path / "weights", step=3)
        assert not weights_equal(one, other)
        take_update(other, read_update(other, tmp_path / "weights", tmp_path, 3))
        assert weights_equal(one, other)


def test_tied_weights_stay_tied_and_stand_once_in_the_file(tmp_path: Path) -> None:
    model = tied(1)
    assert "lm_head.weight" not in tensors_of(model)
    save_weights(tensors_of(model), tmp_path)
    take_update(model, read_update(model, tmp_path, tmp_path, 0))
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_the_files_header_has_what_is_said_about_it(tmp_path: Path) -> None:
    publish(tiny(), tmp_path, attempt=2, step=7)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "attempt": "2", "step": "7"}


def with_experts(directory: Path) -> PreTrainedModel:
    """A model whose files have each expert alone, and which has them together in memory."""
    config = Qwen3MoeConfig(
        vocab_size=30, hidden_size=16, moe_intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=32, num_experts=2, num_experts_per_tok=1,
    )  # fmt: skip
    Qwen3MoeForCausalLM(config).save_pretrained(directory)
    return load_model(str(directory))


def test_weights_are_written_as_the_models_own_files_have_them(tmp_path: Path) -> None:
    model = with_experts(tmp_path / "model")
    own, ours = load_file(tmp_path / "model" / "model.safetensors"), as_in_files(model, tensors_of(model))
    assert any(".experts.1." in name for name in own)
    assert ours.keys() == own.keys() and all(torch.equal(ours[name], own[name]) for name in own)


def test_an_update_of_experts_one_by_one_is_taken(tmp_path: Path) -> None:
    model, other = with_experts(tmp_path / "one"), with_experts(tmp_path / "other")
    assert not weights_equal(model, other)
    save_weights(as_in_files(model, tensors_of(model)), tmp_path / "weights")
    take_update(other, read_update(other, tmp_path / "weights", tmp_path, 0))
    assert weights_equal(model, other)


def test_weights_that_say_they_are_of_another_step_are_refused(tmp_path: Path) -> None:
    publish(tiny(), tmp_path, step=7)
    with pytest.raises(UserError, match="has the weights of step 7, not 8"):
        read_update(tiny(), tmp_path, tmp_path, 8)


def test_weights_of_another_shape_are_refused_with_both_shapes(tmp_path: Path) -> None:
    publish(tiny(0, SHAPE.model_copy(update={"dim": 32})), tmp_path)
    with pytest.raises(UserError, match=r"does not fit: .* is \[.*32.*\] .*, in the model \[.*16.*\]"):
        read_update(tiny(), tmp_path, tmp_path, 0)


def test_weights_of_other_layers_are_refused_by_name(tmp_path: Path) -> None:
    publish(tiny(0, SHAPE.model_copy(update={"layers": 2})), tmp_path)
    with pytest.raises(UserError, match=r"missing there, or not in the model: transformer\.h\.1"):
        read_update(tiny(), tmp_path, tmp_path, 0)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    publish(tiny(), tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(UserError, match=f"{path} cannot be loaded"):
        read_update(tiny(), tmp_path, tmp_path, 0)


def test_the_arithmetic_can_be_bfloat16(tmp_path: Path) -> None:
    from launcher.workload.models.tiny import make_tiny

    make_tiny(tmp_path / "model", SHAPE, 0)
    model = load_model(str(tmp_path / "model"), "bfloat16")
    assert model(torch.tensor([[1, 2, 3]])).logits.dtype == torch.bfloat16
