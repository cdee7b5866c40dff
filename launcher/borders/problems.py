"""Reads files of problems: a prompt, as text or as chat messages, and perhaps the answer to it. JSONL or Parquet."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from launcher.borders.records import read_records
from launcher.errors import UserError

Messages = list[dict[str, Any]]
Prompt = str | Messages

CHECKED = 64 << 20  # bytes of a file that are looked at before anything starts
COLUMNS = ("prompt", "messages", "answer")
FORM = 'such as {"prompt": "2 + 3 =", "answer": "5"}, or "messages": [{"role": "user", "content": "2 + 3 ="}]'


@dataclass(frozen=True)
class Problem:
    prompt: Prompt
    answer: Any  # None if the record has none


def read_problems(path: Path, needs_answer: bool) -> Iterator[Problem]:
    """Every problem of a file. Raises UserError that names the first wrong line."""
    for where, record in read_records(path, COLUMNS, FORM):
        yield _problem(where, record, needs_answer)


def check_problems(path: Path, needs_answer: bool, has_template: bool | None = None) -> None:
    """Look for mistakes, cheaply: not far into a large file, and at the first row of Parquet. Raises UserError.

    `has_template` says whether the model has a chat template; None if that is not known.
    """
    for where, record in read_records(path, COLUMNS, FORM, CHECKED):
        problem = _problem(where, record, needs_answer)
        if has_template is False and not isinstance(problem.prompt, str):
            raise no_template(where, "give prompts as text, or use a chat model")
        if path.suffix == ".parquet":
            return


def no_template(where: str, hint: str) -> UserError:
    return UserError(f"{where} has chat messages, but the model's tokenizer has no chat template", hint)


def _problem(where: str, record: Any, needs_answer: bool) -> Problem:
    if not isinstance(record, dict):
        raise UserError(f"{where} is not an object", FORM)
    prompt: Any = record.get("prompt") if record.get("prompt") is not None else record.get("messages")
    if not (isinstance(prompt, str) and prompt) and not are_messages(prompt):
        raise UserError(f"{where} has no prompt (text, or a list of messages with role and content)", FORM)
    answer = record.get("answer")
    if needs_answer and not isinstance(answer, str | int | float):
        raise UserError(f"{where} has no answer (text or a number)", FORM)
    return Problem(prompt, answer)


def are_messages(value: Any) -> TypeGuard[Messages]:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) and isinstance(one.get("role"), str) and "content" in one for one in value)
    )
