"""Secrets are masked wherever they are shown or stored: by the names of variables and options, and in URLs."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"
_SECRET = re.compile(
    r"(^|[_.-])(API)?(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH(ORIZATION)?|DSN)($|[_.-])"
    r"|(PASS|PASSWORD|PWD)$",
    re.IGNORECASE,
)
_DIRECTORIES = frozenset({"PWD", "OLDPWD"})  # which every shell sets
_IN_URL = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*:)[^\s/]+@")
_ASSIGNED = re.compile(r"(?P<name>[\w.-]+)=(?P<value>\"[^\"]*\"|'[^']*'|\S+)")


def is_secret(name: str) -> bool:
    """Whether a variable of this name is likely to hold a secret: WANDB_API_KEY, HF_TOKEN, PGPASSWORD, SSHPASS…"""
    return name.upper() not in _DIRECTORIES and bool(_SECRET.search(name))


def masked_value(name: str, value: str) -> str:
    """The value of a variable, or of an option, as it may be shown."""
    return MASK if is_secret(name) else _IN_URL.sub(rf"\g<before>{MASK}@", value)


def is_masked(name: str, value: str) -> bool:
    """Whether this was written in place of a secret."""
    return (value == MASK and is_secret(name)) or f":{MASK}@" in value


def masked_variables(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: masked_value(name, value) for name, value in variables.items()}


def masked_words(words: Iterable[str]) -> list[str]:
    """A command line: `NAME=value` of a secret, what follows an option of that kind, and passwords in URLs."""
    shown: list[str] = []
    follows_secret = False
    for word in words:
        shown.append(MASK if follows_secret and not word.startswith("-") else masked_word(word))
        follows_secret = word.startswith("-") and "=" not in word and is_secret(word.lstrip("-"))
    return shown


def masked_word(word: str) -> str:
    """One word of a command line; printable whatever it holds."""
    name, equals, _ = word.partition("=")
    if equals and is_secret(name.lstrip("-")):
        return f"{name}={MASK}".encode("utf-8", "replace").decode()
    text = _ASSIGNED.sub(_assigned, masked_value("", word))
    return text.encode("utf-8", "replace").decode()


def _assigned(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"]
    return f"{name}={MASK if is_secret(name.lstrip('-')) else _ASSIGNED.sub(_assigned, value)}"


def masked(values: Any) -> Any:
    """A copy of nested `values` in which secrets are replaced: text below a secret's name, passwords in URLs."""
    if isinstance(values, dict):
        return {
            name: MASK if isinstance(value, str) and is_secret(name) else masked(value)
            for name, value in values.items()
        }
    if isinstance(values, (list, tuple)) and all(isinstance(value, str) for value in values):
        return type(values)(masked_words(values))
    return masked_value("", values) if isinstance(values, str) else values
