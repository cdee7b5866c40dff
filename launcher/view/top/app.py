"""`launch top`: the runs full-screen. It reads what `launch status` and `launch logs` read."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from threading import Thread

from textual.app import App
from textual.binding import Binding

from launcher.borders.screen import printable
from launcher.view.top import acts
from launcher.view.top.dialogs import HELP, Question, TextScreen
from launcher.view.top.feed import FedScreen
from launcher.view.top.log_screen import LogScreen
from launcher.view.top.run_keys import RunKeys
from launcher.view.top.run_screen import RunScreen
from launcher.view.top.runs_screen import RunsScreen
from launcher.view.top.wish import Ended, Wish

CSS = """
Screen { background: ansi_default; }
#title { height: 1; text-wrap: nowrap; }
#message { height: auto; max-height: 30%; color: ansi_yellow; }
#table { height: 1fr; scrollbar-size: 1 1; background: ansi_default; }
RunScreen #table { height: auto; max-height: 50%; margin-bottom: 1; }
RunScreen #body { height: 1fr; text-wrap: nowrap; }
#lines { height: 1fr; scrollbar-size: 0 1; background: ansi_default; }
#pattern { height: 1; border: none; padding: 0; }
DataTable > .datatable--header { background: ansi_default; }
DataTable > .datatable--cursor { text-style: reverse; background: ansi_default; color: ansi_default; }
Question { align: center middle; background: transparent; }
#box { width: auto; height: auto; max-width: 95%; border: round ansi_yellow; padding: 0 2; background: ansi_default; }
#question { width: auto; text-wrap: nowrap; }
Footer { background: ansi_default; }
"""


class TopApp(App[None]):
    """The application. `opened` is a run to open at once."""

    CSS = CSS
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [  # noqa: RUF012 (textual's own way)
        Binding("ctrl+c", "quit", "leave", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "suspend", show=False),
        Binding("question_mark", "help", "help", key_display="?"),
    ]

    def __init__(self, opened: Path | None = None, everywhere: bool = False) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self._opened, self._everywhere = opened, everywhere

    def on_mount(self) -> None:
        self.push_screen(RunsScreen(self._everywhere))
        if self._opened:
            self.push_screen(RunScreen(self._opened))

    def action_help(self) -> None:
        if not isinstance(self.screen, TextScreen | Question):
            self.push_screen(TextScreen("keys", HELP))

    # --- what the screens ask for ---

    def on_wish(self, wish: Wish) -> None:
        root, name = wish.root, wish.root.name
        match wish.what:
            case "open":
                self.push_screen(RunScreen(root))
            case "logs" | "search":
                self.push_screen(LogScreen(root, wish.component, wish.rank, asks=wish.what == "search"))
            case "stacks":
                self._run("taking the stacks ...", f"stacks of {name}", "stacks", str(root))
            case "status":
                self._run("", f"status of {name}", "status", str(root))
            case "attach":
                self._show_panes(root)
            case "stop":
                self._ask(f"Stop {name}?", f"stopping {name} ...", "stop", str(root))
            case "restart":
                assert wish.component is not None
                doing = f"restarting {wish.component} of {name} ..."
                self._ask(f"Restart {wish.component} of {name}?", doing, "restart", str(root), wish.component)

    def on_ended(self, ended: Ended) -> None:
        self.tell(f"{ended.root.name} has ended")

    def _show_panes(self, root: Path) -> None:
        """The terminal is tmux's until it is left. Meanwhile nothing is read: it would pile up, perhaps for a night."""
        screen = self.screen
        with screen.feed.at_rest() if isinstance(screen, FedScreen) else nullcontext(), self.suspend():
            outcome = acts.launch_here("attach", str(root))
        if outcome.exit_code:
            self.push_screen(TextScreen("launch attach", outcome.text))

    # --- commands ---

    def _ask(self, question: str, doing: str, *words: str) -> None:
        def answered(is_yes: bool | None) -> None:
            if is_yes:
                self._run(doing, "", *words)

        self.push_screen(Question(question), answered)

    def _run(self, doing: str, heading: str, *words: str) -> None:
        """Run a command in the background; then show what it has printed, or tell it if there is no heading."""
        if doing:
            self.tell(doing)
        Thread(target=self._act, args=(heading, words), name=words[0], daemon=True).start()

    def _act(self, heading: str, words: tuple[str, ...]) -> None:
        outcome = acts.launch(*words)
        try:
            self.call_from_thread(partial(self._acted, heading, words, outcome))
        except RuntimeError:  # the application has ended
            return

    def _acted(self, heading: str, words: tuple[str, ...], outcome: acts.Outcome) -> None:
        if heading or outcome.exit_code:
            self.push_screen(TextScreen(heading or f"launch {words[0]}", outcome.text))
        else:
            self.tell(outcome.text.rstrip("\n").rpartition("\n")[2])
        screen = self.screen
        if isinstance(screen, RunKeys):
            screen.read_now()

    def tell(self, text: str) -> None:
        """Show a message in the corner of the screen for a few seconds."""
        self.notify(printable(text), markup=False, timeout=8)
