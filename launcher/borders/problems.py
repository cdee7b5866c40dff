"""Reads files of problems: a prompt, as text or as chat messages, and perhaps the answer to it. JSONL or Parquet."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from launcher.borders.files import reading
from launcher.errors import UserError

Messages = list[dict[str, Any]]
Prompt = str | Messages

CHECKED = 64 << 20  # bytes of a file that are looked at before anything starts
FORM = 'such as {"prompt": "2 + 3 =", "answer": "5"}, or "messages": [{"role": "user", "content": "2 + 3 ="}]'


@dataclass(frozen=True)
class Problem:
    prompt: Prompt
    answer: Any  # None if the record has none


def read_problems(path: Path, needs_answer: bool) -> Iterator[Problem]:
    """Every problem of a file. Raises UserError that names the first line that is none."""
    records = _parquet(path) if path.suffix == ".parquet" else _json_lines(path)
    for where, record in records:
        yield _problem(where, record, needs_answer)


def check_problems(path: Path, needs_answer: bool) -> None:
    """Look for mistakes, cheaply: not far into a large file, nor into Parquet. Raises UserError."""
    if path.suffix == ".parquet":
        if not path.is_file():
            raise UserError(f"{path}: there is no such file")
        return
    for where, record in _json_lines(path, CHECKED):
        _problem(where, record, needs_answer)


def _problem(where: str, record: Any, needs_answer: bool) -> Problem:
    if not isinstance(record, dict):
        raise UserError(f"{where} is no object", FORM)
    prompt: Any = record.get("prompt") if record.get("prompt") is not None else record.get("messages")
    if not (isinstance(prompt, str) and prompt) and not _are_messages(prompt):
        raise UserError(f"{where} has no prompt: neither text nor a list of messages with role and content", FORM)
    answer = record.get("answer")
    if needs_answer and not isinstance(answer, str | int | float):
        raise UserError(f"{where} has no answer, which is text or a number", FORM)
    return Problem(prompt, answer)


def _are_messages(value: Any) -> TypeGuard[Messages]:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) and isinstance(one.get("role"), str) and "content" in one for one in value)
    )


def _json_lines(path: Path, most: int | None = None) -> Iterator[tuple[str, Any]]:
    """Each record and where it stands; empty lines are skipped."""
    try:
        with reading(path, follow=True) as raw, open(raw.fileno(), "rb", closefd=False) as file:
            read = 0
            for number, line in enumerate(file, 1):
                read += len(line)
                if most is not None and read > most:
                    return
                if line.strip():
                    yield f"{path}, line {number}", _parsed(f"{path}, line {number}", line)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def _parsed(where: str, line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not JSON: {error}", FORM) from error


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise UserError(f"{path}: Parquet needs the package pyarrow", "pip install pyarrow") from error
    try:
        with ParquetFile(path) as file:
            names = [name for name in ("prompt", "messages", "answer") if name in file.schema_arrow.names]
            rows = (row for batch in file.iter_batches(columns=names) for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                yield f"{path}, row {number}", row
    except (OSError, ArrowException) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
