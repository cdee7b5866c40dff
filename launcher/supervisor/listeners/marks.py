"""Marks what can be seen of a start from outside: each component's spawn, its ranks, its first output, ready."""

import threading
import time
from pathlib import Path

from launcher.instrumentation.marks import OUTPUT, READY, SPAWN, TORCHRUN, write_mark
from launcher.plan.spec import Plan
from launcher.supervisor.rules.actions import Action
from launcher.supervisor.rules.events import Event, NewAttempt, RankStarted, Ready, Started

FIRST_LOOK, LONGEST = 0.05, 1.0  # seconds between two looks for a first output
PATIENCE = 3600.0  # seconds for which we look for it


class StartMarks:
    """A listener that writes the marks of the first start of each component in an attempt."""

    def __init__(self, plan: Plan) -> None:
        self._begin(plan)

    def __call__(self, event: Event | Action) -> None:
        match event:
            case Started(name):
                self._mark(name, SPAWN)
                self._await_output(name)
            case RankStarted(name, rank):
                self._mark(name, TORCHRUN, rank + self._first(name))
            case Ready(name):
                self._mark(name, READY)
            case NewAttempt(plan):
                self._begin(plan)

    def _begin(self, plan: Plan) -> None:
        self.plan = plan
        self._done: set[tuple[str, str, int | None]] = set()

    def _mark(self, component: str, phase: str, rank: int | None = None) -> None:
        if (component, phase, rank) not in self._done:
            self._done.add((component, phase, rank))
            write_mark(self.plan.run.marks, component, phase, rank)

    def _first(self, component: str) -> int:
        spec = self.plan.process(component)
        return spec.ranks.first if spec and spec.ranks else 0

    def _await_output(self, component: str) -> None:
        spec = self.plan.process(component)
        if spec is None or (component, OUTPUT, None) in self._done:
            return
        self._done.add((component, OUTPUT, None))
        work = (self.plan.run.marks, component, spec.log)
        threading.Thread(target=_mark_first_output, args=work, name="first output", daemon=True).start()


def _mark_first_output(marks: Path, component: str, log: Path) -> None:
    """A thread, as nothing tells us when a file grows."""
    wait, end = FIRST_LOOK, time.monotonic() + PATIENCE
    while (changed := _first_output(log)) is None:
        if time.monotonic() > end:
            return
        time.sleep(wait)
        wait = min(LONGEST, 1.1 * wait)
    write_mark(marks, component, OUTPUT, at=changed)


def _first_output(log: Path) -> float | None:
    """When the log was written to, in seconds since the epoch; None while it is empty."""
    try:
        status = log.stat()
    except OSError:
        return None
    return status.st_mtime if status.st_size else None
