"""The records of supervised fine-tuning: messages, or prompt and completion. Those of a file can be checked early."""

from pathlib import Path
from typing import Any

from launcher.borders.problems import CHECKED, are_messages, no_template
from launcher.borders.records import read_records
from launcher.errors import UserError

COLUMNS = ("messages", "prompt", "completion")
FORM = 'such as {"prompt": "…", "completion": "…"}, or {"messages": [{"role": "user", "content": "…"}, …]}'


def trouble_of(record: Any) -> str | None:
    """What is wrong with the form of a record."""
    if not isinstance(record, dict):
        return "not an object"
    if record.get("messages") is not None:
        return None if are_messages(record["messages"]) else "messages is not a list of objects with role and content"
    for name in ("prompt", "completion"):
        if not (isinstance(record.get(name), str) or are_messages(record.get(name))):
            return f"{name} is missing, or neither text nor messages"
    return None


def is_chat(record: dict[str, Any]) -> bool:
    """Whether it needs a chat template."""
    return not all(isinstance(record.get(name), str) for name in ("prompt", "completion"))


def check_pairs(path: Path, has_template: bool | None, most: int | None = CHECKED) -> None:
    """Look for mistakes: in the first `most` bytes of a JSONL file, or in all of it; in the first row of Parquet.

    `has_template` says whether the model has a chat template; None if that is not known. Raises UserError.
    """
    count = 0
    for where, record in read_records(path, COLUMNS, FORM, most):
        count += 1
        if trouble := trouble_of(record):
            raise UserError(f"{where}: {trouble}", FORM)
        if has_template is False and is_chat(record):
            raise no_template(where, "give prompt and completion as text, or use a chat model")
        if path.suffix == ".parquet":
            return
    if count < 2 and (most is None or path.stat().st_size <= most):
        raise too_few(path, count)


def too_few(source: Path | str | None, count: int, which: str = "") -> UserError:
    has = "1 record" if count == 1 else f"{count} records"
    return UserError(f"{source} has {has}{which}; at least 2 are needed: one to learn from, one held out")
