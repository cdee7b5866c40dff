"""Samples and distributions as rows of W&B tables, in bounded memory even for a long run."""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from launcher.tracking.sinks import Number, json_value

ROWS_PER_STEP = 1_000
"""If a step has more, evenly spaced ones are taken."""
MAX_ROWS = 10_000
"""Rows of the final table; the oldest ones are dropped."""
MAX_CHARACTERS = 50_000_000
"""Characters of all text in the final table; the oldest rows are dropped."""
MAX_CELL = 10_000
"""Characters of a cell; a longer text is cut."""

Cell = str | float | int | bool | None
Row = list[Cell]


class BoundedTable:
    """The newest rows; the columns are `step` and the names in the first record."""

    def __init__(self) -> None:
        self.columns: list[str] = []
        self._rows: deque[Row] = deque()
        self._characters = 0

    @property
    def rows(self) -> list[Row]:
        return list(self._rows)

    def add(self, step: int, records: Sequence[Mapping[str, Any]]) -> list[Row]:
        """Add one step's records, and return them as rows."""
        if not records:
            return []
        self.columns = self.columns or ["step", *records[0]]
        taken = records[:: -(-len(records) // ROWS_PER_STEP)]
        rows: list[Row] = [
            [step, *(json_value(record.get(name), MAX_CELL) for name in self.columns[1:])] for record in taken
        ]
        self._rows.extend(rows)
        self._characters += sum(map(_characters, rows))
        while len(self._rows) > MAX_ROWS or self._characters > MAX_CHARACTERS:
            self._characters -= _characters(self._rows.popleft())
        return rows


def distribution_records(distributions: Mapping[str, Sequence[Number]]) -> list[dict[str, Number | None]]:
    """One record for each index. Distributions shorter than the longest one are padded with None."""
    return [dict(zip(distributions, values, strict=True)) for values in zip_longest(*distributions.values())]


def _characters(row: Row) -> int:
    return sum(len(cell) for cell in row if isinstance(cell, str))
