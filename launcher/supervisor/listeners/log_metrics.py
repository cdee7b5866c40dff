"""Metrics of programs that do not use our metrics file, taken from their log lines: `progress` in their configuration.

The programs need no change: a thread of the supervisor's process reads their logs.
"""

import queue
import re
import threading
from pathlib import Path

from launcher.borders.files import matching
from launcher.borders.log_tail import LogTail
from launcher.borders.screen import printable
from launcher.borders.values import MOST_STEPS
from launcher.plan.spec import Plan, ProcessSpec
from launcher.supervisor.rules.actions import Action
from launcher.supervisor.rules.events import Event, NewAttempt
from launcher.tracking.sinks import MetricsFile, read_steps

INTERVAL = 0.1  # seconds between two looks at the logs
CATCH_UP = 5.0  # seconds that the look after the end of an attempt may take


class LoggedProgress:
    """Turns one component's log lines into its metrics file.

    For a torchrun component, rank 0's log is read. Steps that a new attempt repeats replace the old ones.
    """

    def __init__(self, spec: ProcessSpec, metrics: Path, may_be_silent: bool = False) -> None:
        """`may_be_silent`: a pattern that matches nothing is no trouble."""
        assert spec.progress is not None
        self._may_be_silent = may_be_silent
        self.spec, self.pattern, self.file = spec, re.compile(spec.progress), MetricsFile(metrics)
        self._tails: dict[Path, LogTail] = {}
        self._step = newest_step(metrics)
        self._last: dict[str, float] = {}
        self._is_new = True
        self._lines, self._newest = 0, ""
        self._has_matched = self._has_metrics = False

    def look(self, is_over: bool = False) -> None:
        """Turn the lines added since the last look into metrics."""
        for path in self._logs():
            tail = self._tails.setdefault(path, LogTail(path))
            while lines := tail.new_lines(is_over):
                self._lines += len(lines)
                for line in lines:
                    self._take(printable(line))

    @property
    def trouble(self) -> str | None:
        """Why there are no metrics; None when there are some."""
        if self._has_metrics or (self._may_be_silent and not self._has_matched):
            return None
        if not self._newest:
            return "progress matched nothing: its log is empty"
        what = "matched, but found no number" if self._has_matched else "matched nothing"
        return f"progress {what} in {self._lines} lines, such as {self._newest!r:.80}"

    def _logs(self) -> list[Path]:
        ranks = self.spec.ranks
        rank_0 = matching(ranks.directory, "attempt_*/0/std*.log") if ranks else []
        return rank_0 or [self.spec.log]

    def _take(self, line: str) -> None:
        match = self.pattern.search(line)
        texts = match.groupdict() if match else {}
        if match or (line.strip() and not self._has_matched):
            self._newest = line
        self._has_matched = self._has_matched or match is not None
        found = {name: value for name, text in texts.items() if (value := _number(text)) is not None}
        if not found or ("step" in found and found == self._last):
            return
        self._has_metrics = True
        self._last = dict(found)
        named = found.pop("step", self._step + 1)
        if not 0 <= named <= MOST_STEPS:  # also false for NaN
            return
        step = int(named)
        if self._is_new and step <= self._step:
            self.file.rewind(step - 1)
        self._is_new, self._step = False, step
        self.file.log(found, step)


class ProgressWatch:
    """A listener that follows all components with a `progress`. `close` reads their logs to the end."""

    def __init__(self, plan: Plan) -> None:
        self._asked: queue.SimpleQueue[Plan | threading.Event | None] = queue.SimpleQueue()
        self._followed: dict[Path, LoggedProgress] = {}
        self._follow(plan)
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        if self._followed:
            self._thread.start()

    def __call__(self, event: Event | Action) -> None:
        if isinstance(event, NewAttempt):
            self._asked.put(event.plan)

    def catch_up(self) -> None:
        """The attempt has ended. Returns when its steps are in the metrics files, or after `CATCH_UP` seconds."""
        if self._followed:
            is_done = threading.Event()
            self._asked.put(is_done)
            is_done.wait(CATCH_UP)

    def close(self) -> None:
        """Returns when everything logged is in the metrics files."""
        self._asked.put(None)
        if self._followed:
            self._thread.join()

    def troubles(self) -> dict[str, str]:
        """By component, why its `progress` has given no metrics. Call it after `close`."""
        found = {followed.spec.name: followed.trouble for followed in self._followed.values()}
        return {name: trouble for name, trouble in found.items() if trouble}

    def _run(self) -> None:
        while True:
            try:
                asked = self._asked.get(timeout=INTERVAL)
            except queue.Empty:
                self._look(is_over=False)
                continue
            self._look(is_over=True)
            if asked is None:
                return
            if isinstance(asked, Plan):
                self._follow(asked)
            else:
                asked.set()

    def _look(self, is_over: bool) -> None:
        for followed in self._followed.values():
            followed.look(is_over)

    def _follow(self, plan: Plan) -> None:
        """Servers and services keep running in a new attempt, so their logs are read on from the same place."""
        wanted = {spec.log: spec for spec in plan.processes if spec.progress}
        self._followed = {
            log: self._followed.get(log)
            or LoggedProgress(spec, plan.run.metrics(spec.name), may_be_silent=_has_no_rank_0(spec, plan))
            for log, spec in wanted.items()
        }


def _has_no_rank_0(spec: ProcessSpec, plan: Plan) -> bool:
    """Whether this is a node of the trainer other than the first: most trainers log their steps on rank 0 alone."""
    return spec.name == "trainer" and plan.nodes is not None and plan.nodes.rank != 0


def newest_step(metrics: Path) -> int:
    """The last step of a metrics file; 0 when there is none."""
    try:
        return max((step for step, _ in read_steps(metrics)), default=0)
    except OSError:
        return 0


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
