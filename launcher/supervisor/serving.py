"""Asking a component until it is ready, and a server from then on whether it still serves."""

import asyncio
import math
from collections.abc import Callable

from launcher.plan.spec import Alive, ProcessSpec
from launcher.supervisor.events import Event, NotReady, Ready, Silent
from launcher.supervisor.readiness import Probe, in_thread, ready_probe, until_ready


class Watch:
    """One start of a component that can be asked. Must be made before it is started, and knows of no restart."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.is_ready = False
        self.task: asyncio.Task[None] | None = None  # that runs it
        self.pulse = Pulse(spec.alive) if spec.alive else None
        self._probe = ready_probe(spec.ready, spec.log) if spec.ready else None

    async def run(self, emit: Callable[[Event], None]) -> None:
        """Tell when it is ready, or not within its time; afterwards, when it has fallen silent."""
        if self._probe:
            found = await until_ready(self._probe, self.spec.ready_timeout)
            if isinstance(found, str):
                emit(NotReady(self.spec.name, self.spec.ready or "", self.spec.ready_timeout, found))
                return
            self.is_ready = True
            emit(Ready(self.spec.name, found))
        elif self.pulse:
            await until_ready(self.pulse.probe, math.inf)
            self.is_ready = True
        if self.pulse:
            await self.pulse.until_silent()
            emit(Silent(self.spec.name, self.pulse.alive.check, self.pulse.silence, self.pulse.last_miss))

    def close(self) -> None:
        """The component has ended."""
        if self.task:
            self.task.cancel()


class Pulse:
    """The answers of a server that was ready. Each may take as long as the time between two questions."""

    def __init__(self, alive: Alive, probe: Probe | None = None) -> None:
        self.alive = alive
        self.missed = 0  # in a row
        self.last_miss = ""  # what it met with, see launcher.supervisor.readiness
        self.probe = probe or ready_probe(alive.check, within=alive.interval)

    @property
    def silence(self) -> float:
        """Seconds that it was asked in vain."""
        return self.missed * self.alive.interval

    async def until_silent(self) -> None:
        """Return once so many tries in a row have failed that the server counts as dead."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self.missed < self.alive.misses:
            await asyncio.sleep(began + self.alive.interval - loop.time())
            began = loop.time()
            await self._ask()

    async def _ask(self) -> None:
        try:
            answer = await in_thread(self.probe)
        except OSError:
            return  # launch itself could not ask, which says nothing about the server
        if answer is None:
            self.missed = 0
        else:
            self.missed, self.last_miss = self.missed + 1, answer
