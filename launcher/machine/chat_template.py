"""Whether a model has a chat template, from the files of its tokenizer."""

import json

from launcher.borders.files import read_bytes
from launcher.machine.model_size import local_directory

IN_TOKENIZER, OF_ITS_OWN = "tokenizer_config.json", ("chat_template.jinja", "chat_template.json", "chat_templates")
LARGEST = 64 << 20  # bytes: a tokenizer_config.json may name each of its added tokens


def has_chat_template(name: str) -> bool | None:
    """None when the model is not on this machine yet, or its tokenizer's files cannot be read."""
    directory = local_directory(name)
    if directory is None:
        return None
    if any((directory / own).exists() for own in OF_ITS_OWN):
        return True
    try:
        settings = json.loads(read_bytes(directory / IN_TOKENIZER, LARGEST, follow=True))
    except (OSError, ValueError, RecursionError):
        return None
    return bool(settings.get("chat_template")) if isinstance(settings, dict) else None
