"""One run: its components and ranks, steps, the curve, what went wrong."""

from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Footer, Static

from launcher.rundir import RunDir
from launcher.view.logs.follow import ASK_EVERY
from launcher.view.status.model import RunStatus
from launcher.view.top import run_keys
from launcher.view.top.feed import EVERY, Arrived, Failed, Feed
from launcher.view.top.grid import Table, cell, wrapped
from launcher.view.top.look import KEYS, Look, RunReader, body, has_gone, processes_grid, title
from launcher.view.top.wish import Ended, Wish


class RunScreen(run_keys.RunKeys):
    """One run, as long as it can be read; then what was last known of it."""

    sorted_by = tuple(KEYS)
    BINDINGS = [  # noqa: RUF012 (textual's own way)
        *run_keys.KEYS,
        Binding("r", "restart", "restart"),
        Binding("q,escape", "app.pop_screen", "back", key_display="q"),
    ]

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root
        self._look: Look | None = None

    def compose(self) -> ComposeResult:
        yield Static(cell(f"reading {self._root.name} ..."), id="title")
        yield Static("", id="message")
        yield Table(id="table")
        yield Static("", id="body")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.query_one("#message").display = False
        self.feed = Feed(self, RunReader(self._root), lambda _: [RunDir(self._root).state], _pause)
        self.query_one(Table).focus()

    # --- what was read ---

    def on_arrived(self, arrived: Arrived) -> None:
        self._look = arrived.content
        self.query_one("#message").display = False
        self.draw_rows()

    def on_failed(self, failed: Failed) -> None:
        why = f"{self._root.name} is no longer there" if has_gone(self._root) else failed.why.split("\n")[0]
        message = self.query_one("#message", Static)
        message.update(wrapped(why))
        message.display = True

    def on_resize(self) -> None:
        self.draw_rows()

    def draw_rows(self) -> None:
        if self._look is None:
            return
        self.query_one("#title", Static).update(title(self._look.details, self.size.width))
        self.query_one(Table).show(processes_grid(self._look.details, self.order, self.size.width))
        self.call_after_refresh(self._draw_body)

    def _draw_body(self) -> None:
        """Its size is known once the table has its own."""
        widget = self.query_one("#body", Static)
        if self._look and widget.size.height:
            widget.update(Text("\n").join(body(self._look, widget.size.width, widget.size.height)))

    # --- keys ---

    def meant(self) -> Path | None:
        return self._root

    def status(self) -> RunStatus | None:
        return self._look.details if self._look else None

    def _component(self) -> tuple[str | None, int | None]:
        """The component and the rank under the cursor."""
        name, _, rank = (self.query_one(Table).key or "").partition(":")
        return name or None, int(rank) if name and rank else None

    def on_data_table_row_selected(self) -> None:
        self.action_log()

    def action_log(self) -> None:
        self.post_message(Wish("logs", self._root, *self._component()))

    def action_restart(self) -> None:
        if self._look and self._look.details.is_over:
            self.post_message(Ended(self._root))
        elif component := self._component()[0]:
            self.post_message(Wish("restart", self._root, component))


def _pause(look: Look | None) -> float:
    return ASK_EVERY if look and look.details.job and not look.details.is_over else EVERY
