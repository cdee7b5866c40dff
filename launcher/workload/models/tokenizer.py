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
    except Exception as error:  # whatever broken files make it raise; there is no common class
        raise UserError(f"cannot load the tokenizer of {name}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Why a file could not be loaded, in one line. A missing key alone says nothing."""
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line}" if isinstance(error, LookupError) or not first_line else first_line
