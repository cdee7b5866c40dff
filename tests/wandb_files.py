"""Reads back what wandb has written to disk."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(directory: Path) -> list[Any]:
    """The Records of the one .wandb file in a run's directory: a LevelDB log behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = directory.glob("*.wandb")
    return [Record.FromString(raw) for raw in _leveldb_records(file.read_bytes())]


def _leveldb_records(data: bytes) -> Iterator[bytes]:
    position, parts = 7, b""
    while position + 7 <= len(data):
        if BLOCK - position % BLOCK < 7:  # a block's end is padded where no header fits
            position += BLOCK - position % BLOCK
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        if kind == 0:
            position += BLOCK - position % BLOCK
            continue
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (FULL, LAST):
            yield parts
            parts = b""


def history(directory: Path) -> list[dict[str, Any]]:
    """The logged steps, in order."""
    rows = []
    for record in records(directory):
        if record.HasField("history"):
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows


def table(directory: Path, value: dict[str, Any]) -> dict[str, Any]:
    """The table that a value in the history stands for: `columns` and `data`."""
    return json.loads((directory / "files" / value["path"]).read_text())


def only(found: Iterator[Path]) -> Path:
    (one,) = found
    return one
