"""Reads records from a user's file, JSONL or Parquet, one at a time, each with its place in the file."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from launcher.borders.files import reading
from launcher.errors import UserError

ROWS = 1024  # of Parquet that are in memory at a time

Record = tuple[str, Any]
"""Its place in the file, and its content: an object, if all is well."""


def read_records(path: Path, columns: Sequence[str], form: str, most: int | None = None) -> Iterator[Record]:
    """Every record of a file, of Parquet only these columns; of JSONL at most the first `most` bytes.

    Raises UserError that names the first line that is not JSON, with `form` as the hint.
    """
    return _parquet(path, columns) if path.suffix == ".parquet" else _json_lines(path, form, most)


def _json_lines(path: Path, form: str, most: int | None) -> Iterator[Record]:
    """Empty lines are skipped."""
    try:
        with reading(path, follow=True) as raw, open(raw.fileno(), "rb", closefd=False) as file:
            read = 0
            for number, line in enumerate(file, 1):
                read += len(line)
                if most is not None and read > most:
                    return
                if line.strip():
                    where = f"{path}, line {number}"
                    yield where, _parsed(where, line, form)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def _parsed(where: str, line: bytes, form: str) -> Any:
    try:
        return json.loads(line.rstrip())
    except (ValueError, RecursionError) as error:
        trouble = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{where} is not JSON: {trouble}", form) from error


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise UserError(f"{path}: Parquet needs the package pyarrow", "pip install pyarrow") from error
    try:
        with ParquetFile(path) as file:
            names = [name for name in columns if name in file.schema_arrow.names]
            batches = file.iter_batches(ROWS, columns=names)
            rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                yield f"{path}, row {number}", row
    except (OSError, ArrowException, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
