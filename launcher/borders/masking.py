"""Masks secrets before they are shown or stored. Found by variable and option names, and in URLs and headers."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MASK = "***"
_SECRET = re.compile(
    r"(^|[_.-])(API)?(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH(ORIZATION)?|BEARER|DSN|WEBHOOK|APPRISE)($|[_.-])"
    r"|(PASS|PASSWORD|PWD)$",
    re.IGNORECASE,
)
_DIRECTORIES = frozenset({"PWD", "OLDPWD"})  # set by every shell, and no passwords
_IN_TEXT = (  # the text before a secret, and the secret
    re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s/:@]*:)(?P<secret>[^\s/]+)(?=@)"),
    re.compile(  # https://TOKEN@host: a user without a password is a token, except the common `git@`
        r"(?P<before>\b(?:[a-z]{1,20}\+)?https?://)(?!git@)(?P<secret>[^\s/:@?#\"']+)(?=@)", re.IGNORECASE
    ),
    re.compile(  # whoever knows it can write there
        r"(?P<before>\bhttps?://(?:hooks\.slack(?:-gov)?\.com/|(?:[a-z]{1,20}\.)?discord(?:app)?\.com/api/webhooks/))"
        r"(?P<secret>[^\s\"']+)",
        re.IGNORECASE,
    ),
    re.compile(  # a header, also in JSON
        r"(?P<before>(?:(?:Proxy-)?Authorization|(?:Set-)?Cookie|(?:[a-z]{1,20}-){0,4}API-?Key|Subscription-Key"
        r"|(?:X-(?:[a-z]{1,20}-){0,4}|Private-|Auth-|Access-|Refresh-|Session-)(?:Token|Key|Secret|Password))"
        r"[\"']?\s*:\s*[\"']?(?:(?:Bearer|Basic|Digest|Negotiate|Token|API-?Key)\s+)?)(?P<secret>[^\s\"'][^\"'\n]*)",
        re.IGNORECASE,
    ),
    re.compile(r"(?P<before>\bBearer\s+)(?P<secret>(?!tokens?\b)[\w.~+/=*-]+)"),
)
_NAME = re.compile(r"(?<![\w.-])([\w.-]+)=")
_VALUE = re.compile(r"\"[^\"]*\"|'[^']*'|\S+")

_QUOTED = re.compile(  # in TOML, JSON, Python, also inside other quotes
    r"""((?<![\w.-])(?P<name>[\w.-]{1,80})(?:\\?["'])?\s{0,3}[=:]\s{0,3}(?P<quote>\\?["']))"""
    r"""(?P<value>(?:(?!(?P=quote))(?:\\.|[^\\\n]))*)"""
)
_MASKED = re.compile(rf"(?:\w+\s+)?{re.escape(MASK)}")  # also "Bearer ***"


def is_secret(name: str) -> bool:
    """Whether a variable of this name is likely to hold a secret: WANDB_API_KEY, HF_TOKEN, PGPASSWORD, SSHPASS…"""
    return name.upper() not in _DIRECTORIES and bool(_SECRET.search(name))


def masked_value(name: str, value: str) -> str:
    """The value of a variable or option, safe to show."""
    return MASK if is_secret(name) else _masked_text(value)


def _masked_text(text: str) -> str:
    """The text without passwords and tokens in URLs and headers."""
    for pattern in _IN_TEXT:
        text = pattern.sub(rf"\g<before>{MASK}", text)
    return text


def is_masked(name: str, value: str) -> bool:
    """Whether this value is a masked secret."""
    if value == MASK:
        return is_secret(name)
    return any(found["secret"] == MASK for pattern in _IN_TEXT for found in pattern.finditer(value))


def masked_variables(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: masked_value(name, value) for name, value in variables.items()}


def masked_words(words: Iterable[str]) -> list[str]:
    """A command line without secrets, as in `API_KEY=***`, `--api-key ***` and `https://user:***@host`."""
    shown: list[str] = []
    follows_secret = False
    for word in words:
        shown.append(MASK if follows_secret and not word.startswith("-") else masked_word(word))
        follows_secret = word.startswith("-") and "=" not in word and is_secret(word.lstrip("-"))
    return shown


def masked_word(word: str) -> str:
    """One word of a command line, always valid UTF-8."""
    name, equals, _ = word.partition("=")
    if equals and is_secret(name.lstrip("-")):
        return f"{name}={MASK}".encode("utf-8", "replace").decode()
    return masked_line(word)


def masked_line(line: str) -> str:
    """A line of any text without what looks like a secret, always valid UTF-8."""
    text = _QUOTED.sub(_without_quoted, _masked_text(line))
    return _without_assigned(text).encode("utf-8", "replace").decode()


def _without_quoted(found: re.Match[str]) -> str:
    if not is_secret(found["name"]):
        return found[1] + _QUOTED.sub(_without_quoted, found["value"])
    return found[0] if _MASKED.fullmatch(found["value"]) else f"{found[1]}{MASK}"


def _without_assigned(text: str) -> str:
    """The text with each `SECRET_NAME=value` in it masked."""
    shown, at = [], 0
    for found in _NAME.finditer(text):
        if found.start() >= at and is_secret(found[1].lstrip("-")) and (value := _VALUE.match(text, found.end())):
            shown += [text[at : found.end()], MASK]
            at = value.end()
    return "".join([*shown, text[at:]])


def masked(values: Any) -> Any:
    """A copy of nested `values` with secrets masked: strings under a secret's name, and secrets inside strings."""
    if isinstance(values, dict):
        return {
            name: MASK if isinstance(value, str) and is_secret(name) else masked(value)
            for name, value in values.items()
        }
    if isinstance(values, (list, tuple)) and all(isinstance(value, str) for value in values):
        return type(values)(masked_words(values))
    return masked_value("", values) if isinstance(values, str) else values


def masked_secrets(values: Any) -> list[str]:
    """What is masked in the lists of nested `values`, as in ["--api-key ***"]."""
    found = []
    for words in _word_lists(values):
        again = masked_words(word.replace(MASK, "x") for word in words)
        for before, word, shown in zip(["", *words], words, again, strict=False):
            if MASK in word and word == shown:
                found.append(f"{before} {word}".strip() if word == MASK else word)
    return found


def secret_words(values: Any) -> set[str]:
    """The words in the lists of nested `values` that follow a secret's option, as in ["--api-key", "..."]."""
    return {
        word
        for words in _word_lists(values)
        for word, shown in zip(words, masked_words(words), strict=True)
        if shown == MASK
    }


def _word_lists(values: Any) -> Iterator[list[str]]:
    """The lists of strings in nested `values`."""
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        yield values
        return
    for inner in values.values() if isinstance(values, dict) else values if isinstance(values, list) else ():
        yield from _word_lists(inner)
