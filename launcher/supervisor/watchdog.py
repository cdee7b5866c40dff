"""Whether a run, or one component, is active: whether its logs, its ranks' logs or its metrics change."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from launcher.borders.files import matching
from launcher.plan.spec import Plan, ProcessSpec
from launcher.supervisor.rules.events import Moving, Quiet

START_SECONDS = 600.0  # that a component has for its first output: importing torch from a busy disk takes minutes
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

    The count begins anew with a new attempt, and after a look that found the component not running. A component that
    has logged nothing yet is not quiet before START_SECONDS.
    """
    watchdog: Watchdog | None = None
    is_quiet = False
    while True:
        await asyncio.sleep(allowed / LOOKS)
        plan, running = living()
        is_there = component in running or (component == WHOLE_RUN and bool(running))
        if watchdog is None or watchdog.plan is not plan or not is_there:
            watchdog = Watchdog(plan, component) if is_there else None
        was_quiet, is_quiet = is_quiet, watchdog is not None and watchdog.is_quiet(allowed, running)
        if is_quiet != was_quiet:
            emit(Quiet(component, allowed) if is_quiet else Moving(component))


class Watchdog:
    """Remembers size and time of the files. Only changes count, so a clock that jumps does no harm."""

    def __init__(self, plan: Plan, component: str = WHOLE_RUN) -> None:
        self.plan, self.component = plan, component
        self._specs = [spec for spec in plan.processes if component in (WHOLE_RUN, spec.name)]
        self._last = self._look()
        self._began = self._changed = time.monotonic()

    def is_quiet(self, allowed: float, running: Collection[str]) -> bool:
        """Whether no file has changed for `allowed` seconds, and none of the running components is still starting."""
        now = self._look()
        if now != self._last:
            self._last, self._changed = now, time.monotonic()
        if time.monotonic() - self._changed < allowed:
            return False
        return time.monotonic() - self._began >= START_SECONDS or not self._is_starting(running)

    def _is_starting(self, running: Collection[str]) -> bool:
        """Whether a component has logged nothing. With several nodes, often only the first of its nodes logs."""
        here = [spec.name for spec in self._specs if spec.name in running and self._is_on_first_node(spec.name)]
        have_logged = {name for (name, _), (size, _) in self._last.items() if size}
        return not have_logged.issuperset(here)

    def _is_on_first_node(self, component: str) -> bool:
        nodes = self.plan.nodes
        return nodes is None or next(node for node in nodes.places if nodes.runs(component, node)) == nodes.rank

    def _look(self) -> dict[tuple[str, Path], tuple[int, int]]:
        """Size and time of each file, by component and path."""
        found = {}
        for spec in self._specs:
            for path in self._files(spec):
                with suppress(OSError):
                    status = path.stat()
                    found[spec.name, path] = (status.st_size, status.st_mtime_ns)
        return found

    def _files(self, spec: ProcessSpec) -> Iterator[Path]:
        yield from (spec.log, self.plan.run.metrics(spec.name), *spec.rank_logs)
        if spec.ranks:
            yield from matching(spec.ranks.directory, "attempt_*/*/std*.log")
