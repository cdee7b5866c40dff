"""Asks a component until it is ready, and then keeps asking a server whether it still answers."""

import asyncio
import math
from collections.abc import Callable

from launcher.plan.spec import Alive, ProcessSpec
from launcher.supervisor.readiness import Probe, in_thread, ready_probe, until_ready
from launcher.supervisor.rules.events import Event, NotReady, Ready, Silent


class Watch:
    """Asks one component, for one start of it. Make it before the start, and a new one for each restart."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.is_ready = False
        self.task: asyncio.Task[None] | None = None  # runs `run`
        self.pulse = Pulse(spec.alive) if spec.alive else None
        self._probe = ready_probe(spec.ready, spec.log) if spec.ready else None

    async def run(self, emit: Callable[[Event], None]) -> None:
        """Emit Ready, or NotReady after the timeout. Later emit Silent, when a server does not answer any more."""
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
    """The answers of a server that was ready. Each may take one whole interval."""

    def __init__(self, alive: Alive, probe: Probe | None = None) -> None:
        self.alive = alive
        self.missed = 0  # in a row
        self.last_miss = ""  # the last bad answer, see launcher.supervisor.readiness
        self.probe = probe or ready_probe(alive.check, within=alive.interval)

    @property
    def silence(self) -> float:
        """Seconds without a good answer."""
        return self.missed * self.alive.interval

    async def until_silent(self) -> None:
        """Return when `misses` tries in a row have failed."""
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
