"""Variables named like secrets are masked wherever we print or store their values."""

import re
from typing import Any

MASK = "***"
_SECRET = re.compile(
    r"(^|[_-])(API)?(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH(ORIZATION)?)($|[_-])",
    re.IGNORECASE,
)


def is_secret(name: str) -> bool:
    """Whether a variable of this name is likely to hold a secret: WANDB_API_KEY, HF_TOKEN, AWS_SECRET_ACCESS_KEY…"""
    return bool(_SECRET.search(name))


def masked_word(word: str) -> str:
    """One word of a command line, with the value of a secret's `NAME=value` replaced; printable whatever it holds."""
    name, equals, _ = word.partition("=")
    text = f"{name}={MASK}" if equals and is_secret(name.lstrip("-")) else word
    return text.encode("utf-8", "replace").decode()


def masked(values: Any) -> Any:
    """A copy of nested `values` in which text below a secret's name is replaced."""
    if not isinstance(values, dict):
        return values
    return {
        name: MASK if isinstance(value, str) and is_secret(name) else masked(value) for name, value in values.items()
    }
