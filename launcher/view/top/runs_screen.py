"""The first screen: all runs in a table."""

from functools import partial
from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Footer, Static

from launcher.numbers import plural
from launcher.rundir import RunDir
from launcher.view.logs.follow import ASK_EVERY
from launcher.view.status.model import Runs, RunStatus, all_runs
from launcher.view.status.table import nothing_text, unreadable_lines
from launcher.view.top import run_keys
from launcher.view.top.feed import EVERY, Arrived, Failed, Feed
from launcher.view.top.grid import Table, cell, fit, wrapped
from launcher.view.top.run_rows import KEYS, runs_grid
from launcher.view.top.wish import Wish

WATCHED = 50  # runs whose events are shown at once
UNREADABLE = 3  # that are named


class RunsScreen(run_keys.RunKeys):
    """The runs of this project, or of everywhere."""

    sorted_by = tuple(KEYS)
    BINDINGS = [  # noqa: RUF012 (textual's own way)
        *run_keys.KEYS,
        Binding("q", "app.quit", "leave"),
    ]

    def __init__(self, everywhere: bool) -> None:
        super().__init__()
        self._everywhere = everywhere
        self._runs: Runs | None = None

    def compose(self) -> ComposeResult:
        yield Static(cell("reading the runs ..."), id="title")
        yield Table(id="table")
        yield Static("", id="message")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.feed = Feed(self, partial(all_runs, self._everywhere), _told_by, _pause)
        self.query_one(Table).focus()

    # --- what was read ---

    def on_arrived(self, arrived: Arrived) -> None:
        self._runs = arrived.content
        self.draw_rows()

    def on_failed(self, failed: Failed) -> None:
        self._say(failed.why)

    def on_resize(self) -> None:
        self.draw_rows()

    def draw_rows(self) -> None:
        runs = self._runs
        if runs is None:
            return
        alive = sum(not run.is_over for run in runs.shown)
        where = "everywhere" if self._everywhere else "below ./outputs"
        text = (
            f"{plural(len(runs.shown), 'run')} {where}, {alive} alive" if runs.shown else nothing_text(self._everywhere)
        )
        self.query_one("#title", Static).update(fit(cell(text, "1"), self.size.width))
        self.query_one(Table).show(runs_grid(runs.shown, self.order, self.size.width))
        self._say("\n".join(list(unreadable_lines(runs))[: UNREADABLE + 1]))

    def _say(self, text: str) -> None:
        message = self.query_one("#message", Static)
        message.update(Text("\n").join(wrapped(line) for line in text.split("\n")))
        message.display = bool(text)

    # --- keys ---

    def meant(self) -> Path | None:
        key = self.query_one(Table).key
        return Path(key) if key else None

    def status(self) -> RunStatus | None:
        key = self.query_one(Table).key
        return next((run for run in self._runs.shown if run.directory == key), None) if self._runs else None

    def on_data_table_row_selected(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if root := self.meant():
            self.post_message(Wish("open", root))


def _told_by(runs: Runs) -> list[Path]:
    """Only those that are alive have events."""
    return [RunDir(Path(run.directory)).state for run in runs.shown if not run.is_over][:WATCHED]


def _pause(runs: Runs | None) -> float:
    has_job = runs is not None and any(run.job and not run.is_over for run in runs.shown)
    return ASK_EVERY if has_job else EVERY
