"""The size of a model, from the config.json in its directory or in the cache of the hub."""

import json
import os
from pathlib import Path
from typing import Any

from launcher.borders.files import read_bytes
from launcher.checkpoints import model_directory
from launcher.home import in_home
from launcher.plan.memory import ModelSize

CONFIG = "config.json"
LARGEST_NUMBER = 10**9  # in a config.json
LARGEST_CONFIG = 1 << 20  # bytes
"""A config.json may name each of 100,000 labels."""


def model_size(name: str) -> ModelSize | None:
    """The size of a model on this machine; None when it is not here yet, or says nothing that we know."""
    directory = local_directory(name)
    if directory is None:
        return None
    try:
        return read_size(json.loads(read_bytes(directory / CONFIG, LARGEST_CONFIG, follow=True)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ArithmeticError):
        return None


def local_directory(name: str) -> Path | None:
    """Where a model is on this machine, a directory or a snapshot in the hub's cache; None when it is not here yet."""
    return model_directory(Path(name)) or _cached(name)


def read_size(config: dict[str, Any]) -> ModelSize:
    """The size that a config.json says. Raises KeyError, TypeError or ValueError when it does not say."""
    config = config.get("text_config") or config  # the language model of one that also sees pictures

    def number(*names: str, otherwise: int | None = None) -> int:
        found = next((config[name] for name in names if config.get(name) is not None), otherwise)
        if found is None:
            raise KeyError(names[0])
        if not 0 <= (value := int(found)) < LARGEST_NUMBER:
            raise ValueError(names[0])
        return value

    width, heads = number("hidden_size", "n_embd"), number("num_attention_heads", "n_head")
    head = number("head_dim", otherwise=width // heads)
    is_gpt2 = config.get("model_type") == "gpt2"
    experts = number("num_experts", "num_local_experts", "n_routed_experts", otherwise=0)
    inner = number("intermediate_size", "n_inner", otherwise=4 * width)
    expert = number("moe_intermediate_size", otherwise=inner)
    chosen = number("num_experts_per_tok", otherwise=1)
    return ModelSize(
        layers=number("num_hidden_layers", "n_layer"),
        width=width,
        heads=heads,
        key_heads=number("num_key_value_heads", otherwise=heads),
        head=head,
        inner=chosen * expert if experts else inner,
        all_inner=experts * expert if experts else inner,
        matrices=2 if is_gpt2 else 3,
        vocabulary=number("vocab_size"),
        positions=number("n_positions") if is_gpt2 else 0,
        is_tied=bool(config.get("tie_word_embeddings", True)),
        context=0 if _is_stretched(config) else number("max_position_embeddings", "n_positions", otherwise=0),
    )


def _is_stretched(config: dict[str, Any]) -> bool:
    """Whether its rotary embeddings reach further than it was trained for; how far, each kind says in its own way."""
    rotary = config.get("rope_scaling") or config.get("rope_parameters")
    return isinstance(rotary, dict) and "factor" in rotary


def _cached(name: str) -> Path | None:
    """The newest snapshot of a hub id in the hub's cache."""
    home = os.environ.get("HF_HOME") or in_home("~/.cache/huggingface")
    cache = os.environ.get("HF_HUB_CACHE") or (home and Path(home, "hub"))
    if not cache or "\0" in name:
        return None
    snapshots = Path(cache, f"models--{name.replace('/', '--')}", "snapshots")
    found = [path for path in snapshots.glob("*") if (path / CONFIG).is_file()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)
