"""Whether a run, or one component, is active: whether its logs, its ranks' logs or its metrics change.

And what its processes were doing when it was not.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from launcher.failure.failure import Diagnosis
from launcher.nodes.messages import Lost, Reported
from launcher.plan.spec import Plan
from launcher.supervisor.rules.events import Diagnosed, Event, Moving, Quiet

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
                yield from spec.ranks.directory.glob("attempt_*/*/std*.log")


class Diagnoses:
    """What the processes of this node are doing: once in an attempt that has stalled on another node."""

    def __init__(self, diagnose: Callable[[], Diagnosis] | None, post: Callable[[Event], None]) -> None:
        self._diagnose, self._post = diagnose, post
        self._of: Plan | None = None  # the attempt that was diagnosed because another node has stalled
        self._held: list[Reported | Lost] = []  # what waits for that diagnosis

    async def make(self) -> Diagnosis:
        if self._diagnose is None:
            return Diagnosis()
        try:
            return await asyncio.to_thread(self._diagnose)
        except Exception as error:
            return Diagnosis(lines=(f"no stacks could be taken: {error}",))

    def is_due(self, plan: Plan, has_stalled: bool) -> bool:
        """Whether this attempt has stalled elsewhere, for the first time."""
        is_first = has_stalled and self._of is not plan
        self._of = plan if is_first else self._of
        return is_first

    def look_then_follow(self, event: Reported | Lost) -> Coroutine[Any, Any, None]:
        """Hold the event back from now on. What is returned diagnoses, and then posts it and those behind it."""
        self._held.append(event)
        return self._look_then_follow()

    async def _look_then_follow(self) -> None:
        self._post(Diagnosed(await self.make()))
        held, self._held = self._held, []
        for each in held:
            self._post(each)

    def holds_back(self, event: Reported | Lost, has_stalled: bool) -> bool:
        """Hold back another node's event while it is diagnosed; later ones of the same node too, to stay in order."""
        if not self._held or not (has_stalled or any(each.node == event.node for each in self._held)):
            return False
        self._held.append(event)
        return True
