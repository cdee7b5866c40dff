"""Whether a run, or one component, is active: whether its logs, its ranks' logs or its metrics change."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from launcher.borders.files import matching
from launcher.plan.spec import Plan
from launcher.supervisor.rules.events import Moving, Quiet

LOOKS = 20  # within the time that a run may be silent
WHOLE_RUN = ""  # in place of a component's name

Living = Callable[[], tuple[Plan, frozenset[str]]]
"""The attempt's plan, and its components that run now. There are none while the run is being ended."""


def watched(plan: Plan, whole_run: float | None) -> dict[str, float]:
    """The components to watch, and for how many seconds each may be quiet. WHOLE_RUN means the run."""
    named = {WHOLE_RUN: whole_run, **{spec.name: spec.watchdog for spec in plan.processes}}
    return {name: seconds for name, seconds in named.items() if seconds}


async def report_quiet(component: str, allowed: float, living: Living, emit: Callable[[Quiet | Moving], None]) -> None:
    """Emit Quiet when the component has been quiet for `allowed` seconds, and Moving when it is active again.

    The count begins anew with a new attempt, and after a look that found the component not running.
    """
    watchdog: Watchdog | None = None
    is_quiet = False
    while True:
        await asyncio.sleep(allowed / LOOKS)
        plan, running = living()
        is_there = component in running or (component == WHOLE_RUN and bool(running))
        if watchdog is None or watchdog.plan is not plan or not is_there:
            watchdog = Watchdog(plan, component) if is_there else None
        was_quiet, is_quiet = is_quiet, watchdog is not None and watchdog.silence() >= allowed
        if is_quiet != was_quiet:
            emit(Quiet(component, allowed) if is_quiet else Moving(component))


class Watchdog:
    """Remembers size and time of the files. Only changes count, so a clock that jumps does no harm."""

    def __init__(self, plan: Plan, component: str = WHOLE_RUN) -> None:
        self.plan, self.component = plan, component
        self._last = self._look()
        self._changed = time.monotonic()

    def silence(self) -> float:
        """Seconds since a file last changed."""
        now = self._look()
        if now != self._last:
            self._last, self._changed = now, time.monotonic()
        return time.monotonic() - self._changed

    def _look(self) -> dict[Path, tuple[int, int]]:
        found = {}
        for path in self._files():
            try:
                status = path.stat()
            except OSError:
                continue
            found[path] = (status.st_size, status.st_mtime_ns)
        return found

    def _files(self) -> Iterator[Path]:
        for spec in self.plan.processes:
            if self.component not in (WHOLE_RUN, spec.name):
                continue
            yield from (spec.log, self.plan.run.metrics(spec.name), *spec.rank_logs)
            if spec.ranks:
                yield from matching(spec.ranks.directory, "attempt_*/*/std*.log")
