"""A long text of which only the rows on the screen are drawn. No line wraps: left and right scroll."""

from collections.abc import Callable, Sequence
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

    def __init__(
        self, *, draw: Callable[[Any], Text] = lambda line: line, starts_at_end: bool = False, **settings: Any
    ) -> None:
        """`draw` makes the text of a line that is on the screen."""
        super().__init__(**settings)
        self._draw, self._starts_at_end = draw, starts_at_end
        self._lines: Sequence[Any] = ()
        self._goes_to_end = False  # soon

    def show(self, lines: Sequence[Any], width: int, gone: int = 0) -> None:
        """`width`: of the longest line. `gone`: how many have left at the front; who reads keeps the place."""
        self._goes_to_end |= self.scroll_offset.y >= self.max_scroll_y if self._lines else self._starts_at_end
        self._lines = lines
        self.virtual_size = Size(width, len(lines))
        self.refresh()
        if self._goes_to_end:
            self.call_after_refresh(self._go_to_end)
        elif gone:
            self.scroll_to(y=max(0, self.scroll_offset.y - gone), animate=False)

    def _go_to_end(self) -> None:
        self._goes_to_end = False
        self.scroll_end(animate=False, x_axis=False, immediate=True)

    def show_text(self, text: str) -> None:
        lines = [cell(line) for line in text.rstrip("\n").split("\n")]
        self.show(lines, max(cell_len(line.plain) for line in lines))

    def render_line(self, y: int) -> Strip:
        left, top = self.scroll_offset
        width = self.scrollable_content_region.width
        if not 0 <= top + y < len(self._lines):
            return Strip.blank(width, self.rich_style)
        line = self._draw(self._lines[top + y])
        strip = Strip(line.render(self.app.console), cell_len(line.plain))
        return strip.crop_extend(left, left + width, self.rich_style).apply_style(self.rich_style)
