"""Watches the ranks below torchrun directly: torchrun itself reports a rank's end half a second late."""

import asyncio
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress

from launcher.failure.torchrun_account import exit_codes, rank_directories, signal_to_torchrun
from launcher.plan.spec import ProcessSpec
from launcher.processes.process_tree import children, reaped_exit_code, variable, zombie_exit_code
from launcher.runs.state import Ender
from launcher.supervisor.rules.events import Event, RankExited, RanksGone, RankStarted

LOOK_AGAIN = 0.05  # seconds between looks for ranks that have not started yet
TORCHRUN_SECONDS = 1.0  # when the run is being stopped and all ranks are gone, torchrun has this long to end


class RankWatch:
    """Finds the ranks of one torchrun, then waits for each of them by its pidfd.

    Ranks appear within seconds of torchrun's start, without an announcement. So we poll until all are found, and again
    when torchrun restarts them. The exit code of a rank that ends before it is found comes from torchrun's own report.
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
        self._untold = set(range(self.count))  # local ranks whose end has not been posted
        self._descriptors: dict[int, int] = {}  # local rank -> pidfd
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_hurried = False
        self._ended_before: set[int] = set()  # local ranks that had already ended when the run was told to stop
        self._last_second: asyncio.TimerHandle | None = None
        self._look()

    def close(self, exit_code: int) -> dict[int, int]:
        """torchrun has ended with this code: report how its ranks ended, as far as known.

        Returns the ranks that are still alive: pid -> local rank. They are not watched any more.
        """
        for timer in (self._timer, self._last_second):
            if timer:
                timer.cancel()
        for rank in tuple(self.living):
            if self._has_ended(rank):  # and the loop has not come to say so
                found = self._exit_code(rank)
                self._forget(rank)
                if found is not None:
                    self._tell(rank, found)
        orphans = {pid: rank for rank, pid in self.living.items()}
        for rank in tuple(self.living):
            self._forget(rank)
        self._tell_the_rest(exit_code, self._untold - set(orphans.values()))
        return orphans

    def hurry(self) -> None:
        """The run is being stopped: from now on, do not wait long for a torchrun without ranks."""
        if not self._is_hurried:
            self._ended_before = {rank for rank in self.living if self._has_ended(rank)}
        self._is_hurried = True
        self._send(signal.SIGCONT)  # a stopped rank would not act on SIGTERM
        self._when_alone()

    def kill(self) -> None:
        """Kill the ranks. They would otherwise live until torchrun is gone."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        for descriptor in self._descriptors.values():
            with suppress(OSError):
                signal.pidfd_send_signal(descriptor, number)

    def _when_alone(self) -> None:
        if self._is_hurried and not self.living and self._last_second is None:
            self._last_second = self._loop.call_later(TORCHRUN_SECONDS, self._tell_if_alone)

    def _tell_if_alone(self) -> None:
        self._last_second = None
        if not self.living:
            self.emit(RanksGone(self.component))

    def _look(self) -> None:
        self._timer = None
        for pid in children(self.torchrun):
            if pid not in self._seen and (text := variable(pid, "LOCAL_RANK")) is not None:
                self._watch(int(text), pid)
        if len(self.living if self.restarts else self._seen) < self.count:
            self._timer = self._loop.call_later(LOOK_AGAIN, self._look)

    def _watch(self, rank: int, pid: int) -> None:
        self._seen.add(pid)
        self._untold.add(rank)
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        self.living[rank], self._descriptors[rank] = pid, descriptor
        self._loop.add_reader(descriptor, self._exited, rank)
        self.emit(RankStarted(self.component, rank, pid))

    def _exited(self, rank: int) -> None:
        exit_code = self._exit_code(rank)
        self._forget(rank)
        if exit_code is not None:
            self._tell(rank, exit_code)
        if self.restarts and self._timer is None:
            self._look()
        self._when_alone()

    def _has_ended(self, rank: int) -> bool:
        pidfd = select.poll()  # select.select takes no descriptor above 1023
        pidfd.register(self._descriptors[rank], select.POLLIN)
        return bool(pidfd.poll(0))

    def _exit_code(self, rank: int) -> int | None:
        """None while it is alive. Also None on an old kernel, when its parent has reaped it first."""
        found = zombie_exit_code(self.living[rank])
        return found if found is not None else reaped_exit_code(self._descriptors[rank])

    def _forget(self, rank: int) -> None:
        del self.living[rank]
        descriptor = self._descriptors.pop(rank)
        self._loop.remove_reader(descriptor)
        os.close(descriptor)

    def _tell(self, rank: int, exit_code: int | None, ended_by: Ender | None = None) -> None:
        self._untold.discard(rank)
        if self._is_hurried and rank not in self._ended_before:
            ended_by = "launch"
        got = signal_to_torchrun(self.spec) if exit_code else None
        self.emit(RankExited(self.component, rank, exit_code, got, ended_by=ended_by))

    def _tell_the_rest(self, exit_code: int, ranks: set[int]) -> None:
        """Report ranks that ended before they were found, by torchrun's word. Ranks never started are left out."""
        assert self.spec.ranks is not None
        codes = dict.fromkeys(ranks, 0) if exit_code == 0 else exit_codes(self.spec)
        for rank in sorted(ranks, key=lambda rank: (rank not in codes, rank)):
            if rank in codes:
                self._tell(rank, codes[rank])
            elif any(directory.exists() for directory in rank_directories(self.spec.ranks, rank)):
                self._tell(rank, None, "torchrun")
