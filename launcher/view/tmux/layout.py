"""The content of a run's tmux session: windows, panes and their commands. Pure; client.py opens it.

`tmux.sh` builds the same panes without Python; tests/test_tmux_sh.py holds it to this description.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.borders.screen import printable

PANES_PER_WINDOW = 8
COLOURS = Path(__file__).with_name("pane.sed")
RANK_LABELS = Path(__file__).with_name("ranks.sed")
BUSY, QUIET = 5, 3  # shares of a window's height
SCROLLBACK = 50_000  # lines
# `prefix` is the user's own; the way out is on the topmost border alone. q/h doubles each `#` of a title, which
# could begin a format or a style.
_PREFIX = "#{?#{==:#{prefix},None},#{prefix2},#{prefix}}"
BORDER = (
    " #{q/h:pane_title} "
    f"#{{?pane_at_top,#[align=right] {_PREFIX} d leaves · {_PREFIX} [ scrolls · {_PREFIX} n next ,}}"
)

_BACKLOG = 10_000  # lines: more than a screen needs, and drawn within a second however long the log is
# tail uses inotify only if the file is there when it starts, and polls for good otherwise; -s is for file systems
# that have none. Ctrl-C in a pane must not close it. Without nice a flood that is shown slows the program that writes
# it several times over. The file is an argument, so that no shell reads its name.
_FOLLOW = f"""trap '' INT
until [ -e "$1" ]; do sleep 0.2; done
nice tail -n {_BACKLOG} -s 0.2 -F -- "$1" 2>/dev/null | LC_ALL=C nice sed -E -f "$2"
"""


# What `launch logs` follows, it folds. When it has nothing more to follow, the pane stays for who wants to read.
_FOLD = """trap '' INT
labels=$1 colours=$2
shift 2
nice "$@" 2>&1 | LC_ALL=C nice sed -E -f "$labels" -f "$colours"
exec tail -f /dev/null
"""

_SAY = """trap '' INT
printf '%s\\n' "$1"
exec tail -f /dev/null
"""

# `wandb leet` sorts its charts by name, so that a reward would be many pages away. It keeps a filter beside the runs,
# which is set here once: the user's own stays. `set -C` makes the file only if there is none.
_CHARTS = """until [ -d "$1" ]; do sleep 1; done
(set -C; printf '%s\\n' "$3" >"$1/.wandb-leet.json") 2>/dev/null
exec "$2" -P -m wandb leet "$1"
"""
_CHARTS_AT_FIRST = json.dumps({"metrics_filter": {"query": "loss|reward(/mean)?$"}})


@dataclass(frozen=True)
class PaneSource:
    """A log to show. It need not exist yet. It is the real file of one attempt, never below `logs/latest`."""

    title: str
    file: Path
    trouble: str | None = None  # why it is not shown
    quiet: bool = False  # whether it rarely says anything, as a server does


@dataclass(frozen=True)
class Pane:
    title: str
    command: tuple[str, ...]
    share: int = BUSY  # of the window's height, beside the shares of the others
    takes_input: bool = False


@dataclass(frozen=True)
class Window:
    name: str
    panes: tuple[Pane, ...]

    @property
    def percentages(self) -> tuple[int, ...]:
        """The height of each pane, in percent of the window's."""
        return tuple(100 * pane.share // sum(each.share for each in self.panes) for pane in self.panes)


@dataclass(frozen=True)
class Layout:
    """The session of one run. Another run's session may have the same name, but not the same directory `root`."""

    session: str
    root: Path
    windows: tuple[Window, ...]


def session_name(run: str) -> str:
    """`launch-<run>`, with all replaced that tmux or a shell could read as anything but a name."""
    return "launch-" + re.sub("[^A-Za-z0-9_-]", "_", run)


def follow(source: PaneSource) -> Pane:
    """The pane that shows a log as it grows, in colour, or says why it does not."""
    if source.trouble:
        return Pane(source.title, ("/bin/sh", "-c", _SAY, "say", printable(source.trouble)), QUIET)
    share = QUIET if source.quiet else BUSY
    return Pane(source.title, ("/bin/sh", "-c", _FOLLOW, "follow", str(source.file), str(COLOURS)), share)


def fold(run: Path, component: str, attempt: int, ranks: Sequence[int], python: str) -> Pane:
    """The pane for all these ranks: what several log alike stands there once.

    `run` is the directory that the run is called by, `python` an interpreter with launch.
    """
    logs = (python, "-P", "-m", "launcher", "logs", str(run), component, f"--attempt={attempt}")
    words = (*logs, "--follow", f"--lines={_BACKLOG}", *(f"--rank={rank}" for rank in ranks))
    command = ("/bin/sh", "-c", _FOLD, "fold", str(RANK_LABELS), str(COLOURS), *words)
    return Pane(f"{component}: {len(ranks)} ranks", command)


def charts(wandb: Path, python: str) -> tuple[str, ...]:
    """A program that draws W&B's charts in the terminal, when W&B has made its directory: of loss and reward at first.

    `python` is an interpreter with wandb, because the tmux server's PATH may lack one.
    """
    return ("/bin/sh", "-c", _CHARTS, "charts", str(wandb), python, _CHARTS_AT_FIRST)


def run_layout(
    run: str,
    root: Path,
    components: Sequence[PaneSource],
    ranks: Sequence[Pane],
    launcher_log: Path,
    metrics: tuple[str, ...] | None = None,
) -> Layout:
    """The layout of one attempt.

    Args:
        components: one log for each component; with `--tee 0` the trainer's are its ranks' files.
        ranks: of this node, each in its pane or folded.
        metrics: argv of a program that draws the metrics, for a window of its own.
    """
    windows = (
        *_windows("logs", [follow(source) for source in components]),
        *_windows("ranks", ranks),
        *_windows("launcher", [follow(PaneSource("launcher", launcher_log))]),
        *_windows("metrics", [Pane("metrics", metrics, takes_input=True)] if metrics else []),
    )
    return Layout(session_name(run), root, windows)


def _windows(name: str, panes: Sequence[Pane]) -> list[Window]:
    """The panes on as few windows as possible: `ranks`, `ranks-2`, `ranks-3`…"""
    starts = range(0, len(panes), PANES_PER_WINDOW)
    return [
        Window(name if number == 1 else f"{name}-{number}", tuple(panes[start : start + PANES_PER_WINDOW]))
        for number, start in enumerate(starts, 1)
    ]
