import json
from pathlib import Path
from typing import Any

import pytest

from launcher.machine.model_size import model_size, read_size
from launcher.rundir import RunDir

QWEN3_0_6B = {
    "model_type": "qwen3",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "vocab_size": 1000,
    "tie_word_embeddings": False,
}
GPT2 = {
    "model_type": "gpt2",
    "n_embd": 256,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
    "vocab_size": 500,
    "tie_word_embeddings": False,
}
MIXTURE = {
    "model_type": "qwen3_moe",
    "hidden_size": 256,
    "intermediate_size": 999,
    "moe_intermediate_size": 128,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 1000,
    "tie_word_embeddings": False,
}


@pytest.mark.parametrize("config", [QWEN3_0_6B, LLAMA, GPT2, MIXTURE], ids=lambda config: str(config["model_type"]))
def test_it_counts_the_parameters_that_transformers_makes(config: dict[str, Any]) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))  # type: ignore[no-untyped-call]
    exact = sum(weights.numel() for weights in model.parameters())
    assert read_size(config).parameters == pytest.approx(exact, rel=0.01)


def test_it_is_found_in_a_directory_in_a_run_and_in_the_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "models--Qwen--Qwen3-0.6B" / "snapshots" / "abc"
    checkpoint = RunDir(tmp_path / "run").checkpoint(5)
    for directory in (cached, checkpoint, tmp_path / "model"):
        directory.mkdir(parents=True)
        (directory / "config.json").write_text(json.dumps(QWEN3_0_6B))
    for name in ("Qwen/Qwen3-0.6B", str(tmp_path / "run"), str(tmp_path / "model")):
        found = model_size(name)
        assert found is not None
        assert 0.59e9 < found.parameters < 0.6e9


NO_HEADS = json.dumps(QWEN3_0_6B | {"head_dim": None, "num_attention_heads": 0})
DIGITS = json.dumps(QWEN3_0_6B).replace("3072", "9" * 400)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"hidden_size": "many"}', '{"hidden_size": 1e999}', "[" * 10_000, NO_HEADS, DIGITS],
    ids=["empty", "nothing", "list", "word", "infinite", "deep", "no heads", "400 digits"],
)
def test_a_config_that_does_not_say_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    assert model_size(str(tmp_path)) is None


def test_a_model_that_is_not_here_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert model_size("Qwen/Qwen3-4B") is None
    assert model_size("a\0b") is None
