"""A table as data, and the widget that shows it and changes only the cells that are new."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import DataTable

from launcher.borders.screen import in_one_line
from launcher.view.terminal import GAP

STYLES = {"31": "red", "32": "green", "33": "yellow", "35": "magenta", "36": "cyan", "1": "bold", "2": "dim"}
"""By the codes of launcher.view.terminal."""


def style_of(code: str | None) -> str:
    return " ".join(STYLES[part] for part in (code or "").split(";") if part in STYLES)


def cell(text: str, code: str | None = None) -> Text:
    """Text as it is, whatever markup or control characters stand in it."""
    return Text(in_one_line(text), style=style_of(code), no_wrap=True, end="")


def wrapped(text: str) -> Text:
    """A message that may take several rows."""
    return Text(in_one_line(text), end="")


@dataclass(frozen=True)
class Column:
    title: str
    width: int
    is_right: bool = False


@dataclass(frozen=True)
class Grid:
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Text, ...]], ...]  # each with a key


@dataclass(frozen=True)
class Order:
    """The column by which rows are sorted; None as they come."""

    title: str | None = None
    is_down: bool = True

    def next(self, titles: Sequence[str]) -> "Order":
        """That of the next column; after the last one, as they come."""
        place = titles.index(self.title) + 1 if self.title in titles else 0
        return Order(titles[place]) if place < len(titles) else Order()

    def of(self, title: str) -> "Order":
        """A column's, and at the second time the other way round."""
        return Order(title, not self.is_down if title == self.title else True)

    def marked(self, title: str) -> str:
        return f"{title} {'▼' if self.is_down else '▲'}" if title == self.title else title

    def sorted(self, rows: Sequence[Any], keys: Mapping[str, Callable[[Any], Any]]) -> list[Any]:
        """Those without a value come last."""
        if self.title is None or self.title not in keys:
            return list(rows)
        key = keys[self.title]
        known = [row for row in rows if key(row) is not None]
        return [*sorted(known, key=key, reverse=self.is_down), *(row for row in rows if key(row) is None)]


class Table(DataTable[Text]):
    """Shows a Grid. The cursor stays on its row when rows move, and where it is when its row is gone."""

    BINDINGS = [("enter", "select_cursor", "open")]  # noqa: RUF012 (textual's own way)

    def __init__(self, **settings: Any) -> None:
        super().__init__(cursor_type="row", cell_padding=GAP // 2, **settings)
        self._shown: Grid | None = None

    @property
    def key(self) -> str | None:
        """The row under the cursor."""
        if self._shown is None or not 0 <= self.cursor_row < len(self._shown.rows):
            return None
        return self._shown.rows[self.cursor_row][0]

    def show(self, grid: Grid) -> None:
        before, self._shown = self._shown, grid
        if before and before.columns == grid.columns and _keys(before) == _keys(grid):
            self._change(before, grid)
        elif before != grid:
            self._fill(before, grid)

    def _change(self, before: Grid, grid: Grid) -> None:
        for (key, old), (_, new) in zip(before.rows, grid.rows, strict=True):
            for column, was, now in zip(grid.columns, old, new, strict=True):
                if was != now:
                    self.update_cell(key, column.title, now)

    def _fill(self, before: Grid | None, grid: Grid) -> None:
        row, scroll = self.cursor_row, self.scroll_y
        key = before.rows[row][0] if before and 0 <= row < len(before.rows) else None
        self.clear(columns=True)
        for column in grid.columns:
            title = f"{column.title:>{column.width}}" if column.is_right else column.title
            self.add_column(cell(title, "1"), width=column.width, key=column.title)
        for its, cells in grid.rows:
            self.add_row(*cells, key=its)
        keys = _keys(grid)
        self.move_cursor(row=keys.index(key) if key in keys else min(row, max(0, len(keys) - 1)))
        self.scroll_to(y=scroll, animate=False)


def _keys(grid: Grid) -> list[str]:
    return [key for key, _ in grid.rows]


def fit(text: Text, columns: int) -> Text:
    """The text in so many columns; what does not fit is cut, and that is shown."""
    if cell_len(text.plain) > columns:
        text.truncate(columns, overflow="ellipsis")
    return text
