"""A long text of which only the rows on the screen are drawn. No line wraps: left and right scroll."""

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from launcher.view.top.grid import cell


class Lines(ScrollView, can_focus=True):
    """Shows lines; at the end of them it stays at the end when more are added."""

    BINDINGS = [  # noqa: RUF012 (textual's own way)
        Binding("home", "scroll_home", "first", show=False),
        Binding("end", "scroll_end", "last", show=False),
    ]

    def __init__(self, *, starts_at_end: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self._lines: Sequence[Text] = ()
        self._is_at_end = starts_at_end

    @property
    def plain(self) -> list[str]:
        return [line.plain for line in self._lines]

    def show(self, lines: Sequence[Text]) -> None:
        is_at_end = self.scroll_offset.y >= self.max_scroll_y if self._lines else self._is_at_end
        self._lines = lines
        self.virtual_size = Size(max((cell_len(line.plain) for line in lines), default=0), len(lines))
        self.refresh()
        if is_at_end:
            self.call_after_refresh(self.scroll_end, animate=False, x_axis=False)

    def show_text(self, text: str) -> None:
        self.show([cell(line) for line in text.rstrip("\n").split("\n")])

    def render_line(self, y: int) -> Strip:
        left, top = self.scroll_offset
        width = self.scrollable_content_region.width
        if not 0 <= top + y < len(self._lines):
            return Strip.blank(width, self.rich_style)
        line = self._lines[top + y]
        strip = Strip(line.render(self.app.console), cell_len(line.plain))
        return strip.crop_extend(left, left + width, self.rich_style).apply_style(self.rich_style)
