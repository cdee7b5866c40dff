"""The ranks below torchrun, watched directly: torchrun itself says nothing of a rank's end for half a second."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress

from launcher.plan.spec import ProcessSpec
from launcher.run.events import Event, RankExited, RankStarted
from launcher.run.processes import children, signal_group, variable, zombie_exit_code
from launcher.run.torchrun_account import signal_to_torchrun

LOOK_AGAIN = 0.05  # seconds between looks for ranks that have not started yet
TORCHRUN_SECONDS = 1.0  # that torchrun may take to end when the run is being stopped and its ranks are gone


class RankWatch:
    """Finds the ranks of one torchrun, then waits for each of them by its pidfd.

    Ranks appear within seconds of torchrun's start and announce themselves to nobody, so they are looked for until all
    are there; after that nothing is polled.
    """

    def __init__(self, spec: ProcessSpec, torchrun: int, emit: Callable[[Event], None]) -> None:
        assert spec.ranks is not None
        self.spec = spec
        self.component, self.count = spec.name, spec.ranks.count
        self.restarts = spec.ranks.restarts
        self.torchrun = torchrun
        self.emit = emit
        self.living: dict[int, int] = {}  # local rank -> pid
        self._seen: set[int] = set()  # pids
        self._descriptors: dict[int, int] = {}  # local rank -> pidfd
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_hurried = False
        self._last_second: asyncio.TimerHandle | None = None
        self._look()

    def close(self) -> None:
        """torchrun has ended: what its ranks do from now on is no news, least of all of the next attempt."""
        for timer in (self._timer, self._last_second):
            if timer:
                timer.cancel()
        self._timer, self._is_hurried = None, False
        for descriptor in self._descriptors.values():
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
        self._descriptors.clear()
        self.living.clear()

    def hurry(self) -> None:
        """The run is being stopped: from now on, a torchrun without ranks is not waited for long."""
        self._is_hurried = True
        for descriptor in self._descriptors.values():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGCONT)  # what is stopped would not hear torchrun's signal
        self._when_alone()

    def _when_alone(self) -> None:
        if self._is_hurried and not self.living:
            self._last_second = self._loop.call_later(TORCHRUN_SECONDS, self._kill_torchrun)

    def _kill_torchrun(self) -> None:
        if self._is_hurried and not self.living:
            signal_group(self.torchrun, signal.SIGKILL)

    def _look(self) -> None:
        for pid in children(self.torchrun):
            if pid not in self._seen and (text := variable(pid, "LOCAL_RANK")) is not None:
                self._watch(int(text), pid)
        if len(self.living if self.restarts else self._seen) < self.count:
            self._timer = self._loop.call_later(LOOK_AGAIN, self._look)

    def _watch(self, rank: int, pid: int) -> None:
        self._seen.add(pid)
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self.emit(RankExited(self.component, rank, None))
            return
        self.living[rank], self._descriptors[rank] = pid, descriptor
        self._loop.add_reader(descriptor, self._exited, rank)
        self.emit(RankStarted(self.component, rank, pid))

    def _exited(self, rank: int) -> None:
        pid, descriptor = self.living.pop(rank), self._descriptors.pop(rank)
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        exit_code = zombie_exit_code(pid)
        self.emit(RankExited(self.component, rank, exit_code, signal_to_torchrun(self.spec) if exit_code else None))
        if self.restarts and self._timer is None:
            self._look()
        self._when_alone()
