"""A run's panes, from its state: the same at its start, at `launch attach`, and after its end."""

import threading
import time

from launcher.plan.spec import Plan
from launcher.run.state import RunState
from launcher.rundir import RunDir
from launcher.view.layout import Layout, PaneSource, charts, run_layout
from launcher.view.metrics import MetricsReader
from launcher.view.tmux import set_status

STATUS_INTERVAL = 1.0  # seconds, at least, between two changes of the status line


def layout_of(run: RunDir, state: RunState) -> Layout:
    """`run` must be of the state's attempt, so that the panes show its own files."""
    components = [
        PaneSource(process.name if len(process.panes) == 1 else f"{process.name} {number}", file)
        for process in state.processes
        for number, file in enumerate(process.panes)
    ]
    ranks = [
        PaneSource(f"{process.name} {rank.rank}", rank.log) for process in state.processes for rank in process.ranks
    ]
    metrics = charts(run.wandb) if state.wandb else None
    return run_layout(state.name, run.root, components, ranks, run.launcher_log, metrics)


class StatusLine:
    """Keeps the session's status line at the newest step, from a thread of its own; `close` leaves the final word."""

    def __init__(self, plan: Plan, session: str, socket_name: str | None) -> None:
        self.plan, self.session, self.socket_name = plan, session, socket_name
        self._metrics = MetricsReader(plan.run.metrics(plan.progress.component))
        self._closed = threading.Event()
        self._text = "starting"
        self._thread = threading.Thread(target=self._run, name="tmux status", daemon=True)
        self._thread.start()

    def close(self, state: str) -> None:
        self._closed.set()
        self._thread.join(1.0)
        self._show(f"{self._text}  {state}" if self._text != "starting" else state)

    def _run(self) -> None:
        while not self._closed.wait(STATUS_INTERVAL):
            steps = self._metrics.new_lines()
            if steps:
                self._text = self._describe(steps[-1])
                self._show(f"{self._text}  running")

    def _describe(self, step: dict[str, object]) -> str:
        progress = self.plan.progress
        value = step.get(progress.metric)
        metric = f"  {progress.metric} {value:.3f}" if isinstance(value, float) else ""
        return f"step {step['step']}/{progress.max_steps}{metric}"

    def _show(self, text: str) -> None:
        set_status(self.session, f"{text}  {time.strftime('%H:%M')}", self.socket_name)
