"""Times opening six panes: one chained tmux command, as launch does it, against a libtmux call for each step.

    python benchmarks/panes.py [REPETITIONS]

Each repetition starts on a private server of its own, which is ended afterwards.
"""

import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from libtmux import Server

from launcher.view.tmux.layout import Layout, PaneSource, follow, run_layout
from launcher.view.tmux.session import open_panes, set_status


def six_panes(directory: Path) -> Layout:
    """Three components, two ranks and launcher.log, on three windows."""
    sources = [PaneSource(name, directory / f"{name}.log") for name in ("trainer", "orchestrator", "inference")]
    ranks = [follow(PaneSource(f"rank {rank}", directory / f"rank_{rank}.log")) for rank in range(2)]
    return run_layout("benchmark", directory, sources, ranks, directory / "launcher.log")


def open_chained(layout: Layout, server: Server) -> None:
    open_panes(layout, server.socket_name)


def open_call_by_call(layout: Layout, server: Server) -> None:
    """The same panes as libtmux's objects make them."""
    session = server.new_session(layout.session, x=200, y=50)
    for window in layout.windows:
        made = session.new_window(window.name, window_shell=shlex.join(window.panes[0].command))
        for number, pane in enumerate(window.panes):
            shown = made.split(shell=shlex.join(pane.command)) if number else made.panes[0]
            shown.set_title(pane.title)
            made.select_layout("tiled")
        made.set_option("pane-border-status", "top")


def change_status(layout: Layout, server: Server) -> None:
    """On panes that are open; what opened them is not timed."""
    set_status(layout.session, "step 1/150", server.socket_name)


def milliseconds(action: Callable[[Layout, Server], None], layout: Layout, *, opened: bool) -> float:
    with Server(socket_name=uuid4().hex) as server:
        if opened:
            open_panes(layout, server.socket_name)
        start = time.perf_counter()
        action(layout, server)
        return (time.perf_counter() - start) * 1000


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print(f"{'ms':32}{'median':>8}{'least':>8}{'most':>8}")
    with tempfile.TemporaryDirectory() as directory:
        os.environ["TMUX_TMPDIR"] = directory  # for the sockets, which tmux leaves behind
        layout = six_panes(Path(directory))
        for name, action, opened in (
            ("six panes, as launch does", open_chained, False),
            ("six panes, libtmux call by call", open_call_by_call, False),
            ("a change of the status line", change_status, True),
        ):
            times = [milliseconds(action, layout, opened=opened) for _ in range(repetitions)]
            print(f"{name:32}{statistics.median(times):8.1f}{min(times):8.1f}{max(times):8.1f}")


if __name__ == "__main__":
    main()
