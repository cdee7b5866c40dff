"""Models, as `transformers` loads them."""

from collections.abc import Sequence
from typing import cast

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from launcher.config.workload import DType
from launcher.errors import UserError
from launcher.workload.models.tokenizer import Tokenizer, reason

disable_progress_bar()  # a log is not a terminal


def load_model(name: str, dtype: DType = "float32", attention: str | None = None) -> PreTrainedModel:
    """The model at a directory or hub id, on the CPU. Raises UserError when it is missing or broken."""
    try:
        model, about = AutoModelForCausalLM.from_pretrained(
            name, dtype=getattr(torch, dtype), attn_implementation=attention, output_loading_info=True
        )
    except Exception as error:  # whatever broken files make it raise; there is no common class
        raise UserError(f"cannot load the model {name}: {reason(error)}") from error
    if missing := sorted(about["missing_keys"]):  # transformers would draw them at random
        more = f" and {len(missing) - 1} more weights" if len(missing) > 1 else ""
        raise UserError(f"the model {name} lacks {missing[0]}{more}", "its config.json is that of another model")
    return cast(PreTrainedModel, model)


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
    """The longest sequence that the model takes, in tokens. Raises UserError when its configuration does not say."""
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if longest is None:
        what = f"{type(model).__name__} does not say how long a sequence may be"
        raise UserError(what, "its config.json has no max_position_embeddings")
    return int(longest)
