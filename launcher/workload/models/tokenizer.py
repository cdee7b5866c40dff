"""Tokenizers, as `transformers` loads them. Needs no torch."""

from typing import Any

from launcher.errors import UserError
from launcher.workload.entry import quick_imports

with quick_imports():
    from transformers import AutoTokenizer

Tokenizer = Any
"""A fast tokenizer of `transformers`; its classes have no types."""


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer beside the model, a directory or a hub id. Raises UserError when there is none."""
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError, ImportError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise UserError(f"cannot load the tokenizer of {name}: {first_line}") from error
