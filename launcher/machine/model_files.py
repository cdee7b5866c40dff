"""Looks at the files of a model's directory before anything starts: what is missing, cut short, or another model's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher.borders.files import read_bytes, reading
from launcher.errors import UserError
from launcher.machine.model_size import CONFIG, LARGEST_CONFIG

WEIGHTS, INDEX, TOKENIZER = "model.safetensors", "model.safetensors.index.json", "tokenizer.json"
LARGEST_INDEX, LARGEST_TOKENIZER, LARGEST_HEADER = 64 << 20, 64 << 20, 100_000_000  # bytes; safetensors' own limit
AGAIN = "copy or download it again"

_NEEDED = {
    "weights": ("*.safetensors", "*.bin"),
    "tokenizer": ("tokenizer*", "vocab*", "spiece.model", "*.tiktoken", "tekken.json"),
}


def check_model_files(directory: Path) -> None:
    """Raises UserError when a directory has no weights or no tokenizer beside its config.json, or when they are broken.

    Without a tokenizer `transformers` takes an empty one, which makes no tokens at all.
    """
    for what, patterns in _NEEDED.items():
        if not any(any(directory.glob(pattern)) for pattern in patterns):
            hint = f"looked for {', '.join(patterns)}; save_pretrained of model and tokenizer writes them"
            raise UserError(f"the model {directory} has no {what}", hint)
    config = _object(directory / CONFIG, LARGEST_CONFIG)
    for path in _weights(directory):
        _check_is_whole(path)
    if (directory / TOKENIZER).is_file():
        _check_vocabulary(directory, config)


def _weights(directory: Path) -> Iterator[Path]:
    """The files of safetensors that `from_pretrained` loads. Raises UserError for one that is missing."""
    if (directory / WEIGHTS).is_file():
        yield directory / WEIGHTS
    elif (directory / INDEX).is_file():
        parts = _object(directory / INDEX, LARGEST_INDEX).get("weight_map")
        for name in sorted({str(name) for name in parts.values()} if isinstance(parts, dict) else ()):
            if not (directory / name).is_file():
                raise UserError(f"the model {directory} has no {name}, which {INDEX} names", AGAIN)
            yield directory / name


def _check_is_whole(path: Path) -> None:
    """Raises UserError for a file that was cut short, such as by a download that has ended early."""
    try:
        with reading(path, follow=True) as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if length > min(LARGEST_HEADER, size - 8):
                raise UserError(f"{path} is no file of safetensors, or it was cut short", AGAIN)
            tensors = json.loads(file.read(length))
        ends = (int(about["data_offsets"][1]) for name, about in tensors.items() if name != "__metadata__")
        whole = 8 + length + max(ends, default=0)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no file of safetensors: its header is broken", AGAIN) from error
    if size != whole:
        raise UserError(f"{path} has {size:,} bytes, and its header says {whole:,}", AGAIN)


def _check_vocabulary(directory: Path, config: dict[str, Any]) -> None:
    """Raises UserError for a tokenizer of another model: its words are more than the model has.

    Added tokens do not count: some models have more of them than they know, and never see them.
    """
    text = config.get("text_config") or config
    has = text.get("vocab_size") if isinstance(text, dict) else None
    model = _object(directory / TOKENIZER, LARGEST_TOKENIZER).get("model")
    words = model.get("vocab") if isinstance(model, dict) else None
    if type(has) is not int or not words:
        return
    ids = [one for one in words.values() if type(one) is int] if isinstance(words, dict) else [len(words) - 1]
    if (highest := max(ids, default=0)) >= has:
        what = f"the tokenizer of {directory} makes token {highest}, but the model's vocabulary has {has}"
        raise UserError(what, "the tokenizer's files are those of another model")


def _object(path: Path, largest: int) -> dict[str, Any]:
    """The JSON object in a file. Raises UserError."""
    try:
        found = json.loads(read_bytes(path, largest, follow=True))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}", AGAIN) from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is not a JSON object", AGAIN)
    return found
