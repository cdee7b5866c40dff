import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from launcher.errors import UserError
from launcher.workload.models.load import load_model
from launcher.workload.models.tiny import make_tiny
from launcher.workload.models.tokenizer import load_tokenizer
from tests.workload.running import SHAPE


@pytest.fixture
def model(tmp_path: Path) -> Path:
    make_tiny(tmp_path / "model", SHAPE, seed=0)
    return tmp_path / "model"


@pytest.mark.parametrize("content", ["", "[]", '{"model_type": "qwen3", "num_attention_heads": "four"}'])
def test_a_broken_config_is_refused_in_one_line(model: Path, content: str) -> None:
    (model / "config.json").write_text(content)
    with pytest.raises(UserError, match=f"cannot load the model {model}: [^\n]+$"):
        load_model(str(model))


def test_weights_that_were_cut_short_are_refused(model: Path) -> None:
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=f"cannot load the model {model}"):
        load_model(str(model))


def test_weights_that_are_missing_are_not_drawn_at_random(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if ".mlp.c_fc." not in name}
    save_file(kept, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks transformer\.h\.0\.mlp\.c_fc\.bias and 1 more weights"):
        load_model(str(model))


@pytest.mark.parametrize("content", ["garbage", json.dumps({"version": "1.0"}), "[]"])
def test_a_broken_tokenizer_is_refused_in_one_line(model: Path, content: str) -> None:
    (model / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=f"cannot load the tokenizer of {model}: [^\n]+$"):
        load_tokenizer(str(model))
