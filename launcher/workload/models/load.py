"""Models, as `transformers` loads them."""

from collections.abc import Sequence

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from launcher.config.workload import DType
from launcher.errors import UserError
from launcher.workload.models.tokenizer import Tokenizer

disable_progress_bar()  # a log is not a terminal


def load_model(name: str, dtype: DType = "float32", attention: str | None = None) -> PreTrainedModel:
    """The model at a directory or hub id, on the CPU. Raises UserError when it is missing or broken."""
    try:
        return AutoModelForCausalLM.from_pretrained(name, dtype=getattr(torch, dtype), attn_implementation=attention)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise UserError(f"cannot load the model {name}: {_first_line(error)}") from error


def empty_model(name: str, dtype: DType = "float32", attention: str | None = None) -> PreTrainedModel:
    """The same model without memory for its weights (on the meta device). Raises UserError."""
    try:
        config = AutoConfig.from_pretrained(name)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype), attn_implementation=attention)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise UserError(f"cannot load the model {name}: {_first_line(error)}") from error


def end_tokens(name: str, tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that end a completion: those of generation_config.json, and the tokenizer's end of sequence."""
    found = {tokenizer.eos_token_id}
    try:
        named: int | Sequence[int] | None = GenerationConfig.from_pretrained(name).eos_token_id
        found |= {named} if isinstance(named, int) else set(named or ())
    except (OSError, ValueError):
        pass  # it has no generation_config.json
    return frozenset(token for token in found if token is not None)


def context_of(model: PreTrainedModel) -> int:
    """The longest sequence that the model takes, in tokens."""
    return int(model.config.max_position_embeddings)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
