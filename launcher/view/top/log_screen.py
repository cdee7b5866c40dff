"""The merged logs of a run, of one component or of one rank; with a search."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Footer, Input, Static

from launcher.borders.screen import in_one_line
from launcher.runs.state import open_run
from launcher.view.top.entries import Entries, Entry
from launcher.view.top.feed import Arrived, Failed, FedScreen, Feed
from launcher.view.top.grid import cell, fit
from launcher.view.top.lines import Lines

MOST = 5000  # lines that are kept


@dataclass(frozen=True)
class LogLook:
    """The logs at one moment."""

    of: tuple[object, ...]  # attempt and filter
    lines: list[Entry]
    width: int  # of the longest line that was ever in `lines`
    gone: int  # lines before them
    files: Collection[Path] = ()


class LogReader:
    """Reads what was added; a new attempt or another filter begins anew."""

    def __init__(self, root: Path, component: str | None, rank: int | None) -> None:
        self.root, self.component, self.rank = root, component, rank
        self.grep, self.level = "", ""
        self._entries: Entries | None = None
        self._of: tuple[object, ...] = ()
        self._width = self._count = 0

    def __call__(self) -> LogLook:
        """Raises UserError: the run cannot be read, or the pattern is none."""
        run, state = open_run(self.root)
        wanted = (state.attempt, self.grep, self.level)
        if self._entries is None or self._of != wanted:
            self._entries, self._of = None, wanted
            self._width = self._count = 0
            self._entries = Entries(
                run,
                state,
                most=MOST,
                component=self.component,
                rank=self.rank,
                level=self.level or None,
                grep=self.grep or None,
                is_asked_for=True,
            )
        lines, count = list(self._entries.read()), self._entries.count
        new = lines[max(0, len(lines) - (count - self._count)) :]
        self._width = max([self._width, *(cell_len(entry.line().plain) for entry in new)])
        self._count = count
        return LogLook(wanted, lines, self._width, count - len(lines), self._entries.files())


class LogScreen(FedScreen):
    """Lines as they come. `asks` opens the search at once."""

    BINDINGS = [  # noqa: RUF012 (textual's own way)
        Binding("slash", "search", "search", key_display="/"),
        Binding("w", "warnings", "warnings only"),
        Binding("q,escape", "back", "back", key_display="q"),
    ]

    def __init__(self, root: Path, component: str | None, rank: int | None, asks: bool) -> None:
        super().__init__()
        self._reader, self._asks = LogReader(root, component, rank), asks
        self._shown = LogLook((), [], 0, 0)

    def compose(self) -> ComposeResult:
        yield Static("", id="title")
        yield Lines(id="lines", draw=Entry.line, starts_at_end=True)
        yield Input(id="pattern", placeholder="a regular expression; enter searches, escape leaves")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.feed = Feed(self, self._reader, lambda look: look.files)
        self.query_one(Input).display = False
        self.query_one(Lines).focus()
        self._title("reading ...")
        if self._asks:
            self.action_search()

    # --- what was read ---

    def on_arrived(self, arrived: Arrived) -> None:
        look: LogLook = arrived.content
        before, self._shown = self._shown, look
        self._title(f"{len(look.lines)} lines" if len(look.lines) < MOST else f"the last {MOST} lines")
        if look.lines != before.lines:
            self.query_one(Lines).show(look.lines, look.width, look.gone - before.gone if look.of == before.of else 0)

    def on_failed(self, failed: Failed) -> None:
        self._title(failed.why.split("\n")[0])

    def _title(self, text: str) -> None:
        reader = self._reader
        whose = reader.component or "all components"
        words = [f"logs of {reader.root.name}", whose if reader.rank is None else f"{whose} rank {reader.rank}"]
        words += [f"with {in_one_line(reader.grep)}"] if reader.grep else []
        words += ["warnings and worse"] if reader.level else []
        self.query_one("#title", Static).update(fit(cell(f"{', '.join(words)}: {text}", "1"), self.size.width))

    # --- keys ---

    def action_search(self) -> None:
        pattern = self.query_one(Input)
        pattern.display = True
        pattern.value = self._reader.grep
        pattern.focus()

    def on_input_submitted(self, submitted: Input.Submitted) -> None:
        self._leave_search()
        self._read_anew(grep=submitted.value)

    def action_warnings(self) -> None:
        self._read_anew(level="" if self._reader.level else "warning")

    def _read_anew(self, grep: str | None = None, level: str | None = None) -> None:
        self._reader.grep = self._reader.grep if grep is None else grep
        self._reader.level = self._reader.level if level is None else level
        self._title("reading ...")
        self.feed.read_now()

    def action_back(self) -> None:
        if self.query_one(Input).display:
            self._leave_search()
        else:
            self.app.pop_screen()

    def _leave_search(self) -> None:
        self.query_one(Input).display = False
        self.query_one(Lines).focus()
