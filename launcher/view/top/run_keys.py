"""What the list of runs and the page of one have in common: the keys that do something with a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from textual.binding import Binding
from textual.widgets import DataTable

from launcher.view.status.model import RunStatus
from launcher.view.top.feed import FedScreen
from launcher.view.top.grid import Order
from launcher.view.top.wish import Ended, What, Wish

KEYS = [
    Binding("l", "wish('logs')", "logs"),
    Binding("slash", "wish('search')", "search", key_display="/"),
    Binding("s", "wish('stacks')", "stacks"),
    Binding("d", "wish('status')", "details", show=False),
    Binding("a", "wish('attach')", "attach"),
    Binding("x,k", "wish('stop')", "stop", key_display="x"),
    Binding("o", "sort", "sort"),
    Binding("O,shift+o", "turn", "the other way round", show=False),
]


class RunKeys(FedScreen):
    """A screen that reads, on which a run is meant, with a table that can be sorted."""

    order = Order()
    sorted_by: Sequence[str] = ()  # titles of columns

    def meant(self) -> Path | None:
        """The run that a key is for."""
        raise NotImplementedError

    def action_wish(self, what: str) -> None:
        if (root := self.meant()) is None:
            return
        status = self.status()
        if what == "stop" and status and status.is_over and status.state != "died":  # that may leave processes
            self.post_message(Ended(root))
        else:
            self.post_message(Wish(cast(What, what), root))

    def status(self) -> RunStatus | None:
        """What was last read of that run."""
        raise NotImplementedError

    # --- the order of its table's rows ---

    def draw_rows(self) -> None:
        raise NotImplementedError

    def on_data_table_header_selected(self, selected: DataTable.HeaderSelected) -> None:
        self._sort(self.order.of(str(selected.column_key.value).rstrip(" ▼▲")))

    def action_sort(self) -> None:
        self._sort(self.order.next(self.sorted_by))

    def action_turn(self) -> None:
        if self.order.title:
            self._sort(self.order.of(self.order.title))

    def _sort(self, order: Order) -> None:
        self.order = order
        self.draw_rows()

    def read_now(self) -> None:
        self.feed.read_now()
