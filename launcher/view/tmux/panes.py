"""Makes a run's panes from its state: the same at its start, at `launch attach`, and after its end."""

import sys
import threading
import time
from pathlib import Path
from typing import Any

from launcher.plan.spec import Plan, Progress
from launcher.rundir import RunDir
from launcher.runs.liveness import true_state
from launcher.runs.state import ProcessState, ProgressState, RunState, other_nodes
from launcher.view.logs.bounds import trouble_with
from launcher.view.metric_curves import MetricsReader, progress_text, read_newest
from launcher.view.tmux.layout import Layout, PaneSource, charts, run_layout
from launcher.view.tmux.server import PATIENCE
from launcher.view.tmux.session import close_panes, renew_panes, set_status

PANES_OF_OTHERS = 16  # for components of other nodes; there may be hundreds of them
STATUS_INTERVAL = 2.0  # seconds, at least, between two changes of the status line


def layout_of(run: RunDir, state: RunState) -> Layout:
    """`run` must be of the state's attempt, so that the panes show its own files."""
    components = [
        _source(process.name if len(process.panes) == 1 else f"{process.name} {number}", run, process, file)
        for process in state.processes
        for number, file in enumerate(process.panes)
    ]
    others = [
        _source(f"{process.name}@{other.node}", other, process, process.log)
        for other, its in other_nodes(run, state)
        for process in its.processes
    ]
    components += others[:PANES_OF_OTHERS]
    ranks = [
        _source(f"{process.name} {rank.rank}", run, process, rank.log)
        for process in state.processes
        for rank in process.ranks
    ]
    metrics = charts(run.wandb, sys.executable) if state.wandb else None
    name = f"{state.name}-node_{run.node}" if run.node else state.name
    return run_layout(name, run.own, components, ranks, run.launcher_log, metrics)


def _source(title: str, run: RunDir, process: ProcessState, file: Path) -> PaneSource:
    why = trouble_with(run, process, file)
    return PaneSource(title, file, f"{file} is not shown: {why}" if why else None)


def status_text(progress: Progress | ProgressState, steps: list[dict[str, Any]], state: str, when: float) -> str:
    """Step, metric and state, with their time. `when` is in seconds since the epoch."""
    words = [progress_text(progress, steps[-1])] if steps else []
    return "  ".join([*words, state, time.strftime("%H:%M", time.localtime(when))])


def show_status(run: RunDir, state: RunState, session: str) -> None:
    """Set the status line of panes that were opened again: the supervisor may never set it again."""
    steps = read_newest(run.metrics(state.progress.component))
    text = status_text(state.progress, steps, true_state(run, state), state.ended or time.time())
    set_status(session, text, state.tmux_socket)


def renew(run: RunDir, state: RunState) -> None:
    """Let open panes show the new attempt. The run continues even if tmux does not answer."""
    work = threading.Thread(
        target=renew_panes, args=(layout_of(run, state), state.tmux_socket), name="tmux panes", daemon=True
    )
    work.start()
    work.join(PATIENCE)


class StatusLine:
    """Keeps the session's status line at the newest step, in its own thread, and sets the final state at the end."""

    def __init__(self, plan: Plan, session: str, socket_name: str | None) -> None:
        self.plan, self.session, self.socket_name = plan, session, socket_name
        self._metrics = MetricsReader(plan.run.metrics(plan.progress.component))
        self._closed = threading.Event()
        self._last_state, self._keep = "", True
        self._newest: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._run, name="tmux status", daemon=True)
        self._thread.start()

    def close(self, state: str, keep: bool) -> None:
        """Unless it is to be kept, also close the session when its last client leaves.

        Returns after `PATIENCE` at the latest, whether tmux answers or not.
        """
        self._last_state, self._keep = state, keep
        self._closed.set()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while not self._closed.wait(STATUS_INTERVAL):
            if steps := self._metrics.new_lines():
                self._newest = steps[-1:]
                self._show("running")
        self._show(self._last_state)
        if not self._keep:
            close_panes(self.session, self.socket_name)

    def _show(self, state: str) -> None:
        set_status(self.session, status_text(self.plan.progress, self._newest, state, time.time()), self.socket_name)
