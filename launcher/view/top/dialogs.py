"""Questions, texts and the help."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Static

from launcher.view.top.grid import cell, fit
from launcher.view.top.lines import Lines

HELP = """\
All runs
  enter      open a run: components, ranks, steps, the curve, warnings
  o, O       sort by the next column, the other way round; or click on its title

A run
  enter      the log of the component or rank under the cursor
  l          the logs of all, merged in time order
  d          what `launch status RUN` prints
  r          restart the server or service under the cursor, after a question

Both
  s          the Python stack of every process, as `launch stacks` prints it
  a          attach to the panes; leaving them comes back here
  x, k       stop the run, after a question
  /          search in the logs, by a regular expression
  q, escape  back; in the list of runs, q leaves
  ctrl+c     leave; runs continue

Logs
  /          show only entries in which an expression is found; empty: all
  w          only warnings and worse
"""


class Question(ModalScreen[bool]):
    """Asks before something happens. Only y is a yes."""

    BINDINGS = [("y", "answer(True)", "yes"), ("n,escape,q,enter", "answer(False)", "no")]  # noqa: RUF012

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        width = max(20, self.app.size.width - 10)
        lines = [fit(cell(self._question, "1"), width), cell(""), cell("y yes    n no")]
        yield Vertical(Static(Text("\n").join(lines), id="question"), id="box")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class TextScreen(Screen[None]):
    """A text to read, with its title."""

    BINDINGS = [("q,escape", "app.pop_screen", "back")]  # noqa: RUF012

    def __init__(self, heading: str, text: str) -> None:
        super().__init__()
        self._heading, self._text = heading, text

    def compose(self) -> ComposeResult:
        yield Static(cell(self._heading, "1"), id="title")
        yield Lines(id="lines")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.query_one(Lines).show_text(self._text)
        self.query_one(Lines).focus()
