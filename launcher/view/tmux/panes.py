"""Makes a run's panes from its state: the same at its start, at `launch attach`, and after its end."""

import sys
import threading
import time
from pathlib import Path
from typing import Any

from launcher.numbers import duration
from launcher.plan.spec import Plan, Progress
from launcher.rundir import RunDir
from launcher.runs.liveness import true_state
from launcher.runs.state import ProcessState, ProgressState, RunState, other_nodes, read_state
from launcher.view.logs.bounds import trouble_with
from launcher.view.metric_curves import MetricsReader, progress_text, read_newest
from launcher.view.pace import Pace
from launcher.view.tmux.layout import Layout, Pane, PaneSource, charts, fold, follow, run_layout
from launcher.view.tmux.server import PATIENCE
from launcher.view.tmux.session import close_panes, renew_panes, set_status

PANES_OF_OTHERS = 16  # for components of other nodes; there may be hundreds of them
STATUS_INTERVAL = 0.8  # seconds between two looks at the newest step: the status line is never later than a second
_AT_WORK = ("trainer", "orchestrator")  # log every step; servers and services rarely say anything


def layout_of(run: RunDir, state: RunState, *, each_rank: bool = False) -> Layout:
    """`run` must be of the state's attempt, so that the panes show its own files.

    With `each_rank`, or if the run was started so, each rank has a pane of its own.
    """
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
    folds = not (each_rank or state.tmux_each_rank or run.node)  # only node 0's directory is what a run is called by
    ranks = [pane for process in state.processes for pane in _rank_panes(run, process, folds)]
    metrics = charts(run.wandb, sys.executable) if state.wandb else None
    name = f"{state.name}-node_{run.node}" if run.node else state.name
    return run_layout(name, run.own, components, ranks, run.launcher_log, metrics)


def _rank_panes(run: RunDir, process: ProcessState, folds: bool) -> list[Pane]:
    if folds and len(process.ranks) > 1:
        return [fold(run.root, process.name, run.attempt, [rank.rank for rank in process.ranks], sys.executable)]
    return [follow(_source(f"{process.name} {rank.rank}", run, process, rank.log)) for rank in process.ranks]


def _source(title: str, run: RunDir, process: ProcessState, file: Path) -> PaneSource:
    why = trouble_with(run, process, file)
    return PaneSource(title, file, f"{file} is not shown: {why}" if why else None, title.split()[0] not in _AT_WORK)


def status_text(
    progress: Progress | ProgressState, steps: list[dict[str, Any]], state: str, seconds_left: float | None = None
) -> str:
    """Step, metric, time left and state."""
    words = [progress_text(progress, steps[-1])] if steps else []
    words += [f"{duration(seconds_left)} left"] if seconds_left else []
    return "  ".join([*words, state])


def show_status(run: RunDir, state: RunState, session: str) -> None:
    """Set the status line of panes that were opened again: the supervisor may never set it again."""
    steps = read_newest(run.metrics(state.progress.component))
    text = status_text(state.progress, steps, true_state(run, state))
    set_status(session, text, state.tmux_socket, when=state.ended or time.time())


def renew(run: RunDir, state: RunState) -> None:
    """Let open panes show the new attempt. The run continues even if tmux does not answer."""
    work = threading.Thread(
        target=renew_panes, args=(layout_of(run, state), state.tmux_socket), name="tmux panes", daemon=True
    )
    work.start()
    work.join(PATIENCE)


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


class StatusLine:
    """Keeps the session's status line at the newest step, in its own thread, and sets the final state at the end."""

    def __init__(self, plan: Plan, session: str, socket_name: str | None) -> None:
        self.plan, self.session, self.socket_name = plan, session, socket_name
        self._metrics = MetricsReader(plan.run.metrics(plan.progress.component))
        self._pace = Pace()
        self._closed = threading.Event()
        self._last_state, self._keep = "", True
        self._newest: list[dict[str, Any]] = []
        self._read_at, self._written = 0.0, "starting"
        self._shown = ""
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
        self._show("starting")
        while not self._closed.wait(STATUS_INTERVAL):
            if steps := self._metrics.new_lines():
                self._newest = steps[-1:]
                self._pace.add(steps[-1]["step"])
            self._show(self._state(), self._pace.seconds_left(self.plan.progress.max_steps))
        self._newest = self._metrics.new_lines()[-1:] or self._newest
        self._show(self._last_state)
        if not self._keep:
            close_panes(self.session, self.socket_name)

    def _state(self) -> str:
        """As in run.json, but a run without a step is still starting."""
        changed = _changed(self.plan.run.state)
        if changed != self._read_at:  # reading it is what costs
            state, self._read_at = read_state(self.plan.run), changed
            self._written = state.state if state else "starting"
        return "starting" if self._written == "running" and not self._newest else self._written

    def _show(self, state: str, seconds_left: float | None = None) -> None:
        text = status_text(self.plan.progress, self._newest, state, seconds_left)
        if text != self._shown:
            set_status(self.session, text, self.socket_name, when=time.time())
        self._shown = text
