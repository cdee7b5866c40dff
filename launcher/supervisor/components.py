"""Starts, signals and reaps the processes of a plan's components. Posts an event for each start and each end."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

from launcher.plan.spec import ProcessSpec, Role
from launcher.processes.process_tree import kill_orphans_of, signal_group, sweep, zombie_exit_code
from launcher.processes.spawn import spawn
from launcher.supervisor.rank_watch import RankWatch
from launcher.supervisor.rules.events import Event, Exited, NotStarted, RankExited, Started
from launcher.supervisor.serving import Watch
from launcher.supervisor.suspects import RecentLogs

Post = Callable[[Event], None]


class Components:
    """The live components and their ranks. Needs a running loop, in a process that is a subreaper."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self.living: dict[int, ProcessSpec] = {}  # by pid
        self.watches: dict[str, Watch] = {}  # by component
        self.server_logs = RecentLogs()
        self._asked: set[int] = set()  # pids of components that were alive when they were asked to end
        self._orphans: dict[int, RankExited] = {}  # by pid: ranks that outlived their torchrun, and were told to end
        self._ranks: dict[str, RankWatch] = {}

    def start(self, spec: ProcessSpec) -> None:
        if spec.role is Role.SERVES:
            self.server_logs.started(spec.log)
        try:
            watch = Watch(spec) if spec.ready or spec.alive else None
            pid = spawn(spec, os.environ)
        except Exception as error:  # any: without an event, the policy would wait for ever
            self.post(NotStarted(spec.name, str(error)))
            return
        self.living[pid] = spec
        self.post(Started(spec.name, pid))
        if spec.ranks:
            self._ranks[spec.name] = RankWatch(spec, pid, self.post)
        if watch:
            self.watches[spec.name] = watch
            watch.task = asyncio.get_running_loop().create_task(watch.run(self.post))

    def pids(self, component: str | None = None, role: Role | None = None) -> list[int]:
        """The pids that are alive: of all components, of one, or of one role."""
        return [
            pid for pid, spec in self.living.items() if component in (None, spec.name) and role in (None, spec.role)
        ]

    def serving(self) -> Iterator[tuple[ProcessSpec, Watch | None]]:
        return ((spec, self.watches.get(spec.name)) for spec in self.living.values() if spec.role is Role.SERVES)

    # --- ending them ---

    def send(self, pids: list[int], number: signal.Signals) -> None:
        """Send a signal to the process group of each of these processes."""
        for pid in pids:
            if zombie_exit_code(pid) is None:
                self._asked.add(pid)
            signal_group(pid, number)

    def ask_to_end(self, pids: list[int]) -> None:
        self.send(pids, signal.SIGTERM)
        for pid in pids:
            signal_group(pid, signal.SIGCONT)  # a stopped process would not act on SIGTERM

    def hurry(self) -> None:
        """The ranks are about to end: do not wait long for a torchrun without ranks."""
        for watch in self._ranks.values():
            watch.hurry()

    def kill_with_ranks(self, pids: list[int]) -> None:
        """Kill components and their ranks, which torchrun starts in sessions of their own."""
        self.send(pids, signal.SIGKILL)
        for pid in pids:
            if ranks := self._ranks.get(self.living[pid].name):
                ranks.kill()

    def kill(self) -> None:
        """Kill everything. When this returns, every process that can be killed is gone."""
        self.send(self.pids(), signal.SIGKILL)
        self.hurry()
        self.sweep()
        for pid in tuple(self.living):  # it hangs in the kernel, waiting for a driver or a file server
            self._ended(pid, -signal.SIGKILL)

    def sweep(self) -> None:
        """Kill every descendant, and wait for it."""
        for pid, status in sweep().items():
            self._ended(pid, os.waitstatus_to_exitcode(status))

    def kill_orphans_of(self, component: str) -> None:
        kill_orphans_of(component, self.living)

    def forget_orphans(self) -> None:
        """Drop the ranks of the last attempt, so that the new one does not hear of them."""
        self._orphans.clear()

    # --- how they end ---

    def reap(self) -> None:
        """Reap every child that has ended: components, and orphans that the kernel gave to this subreaper."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, exit_code: int) -> None:
        spec = self.living.pop(pid, None)
        if spec is None:
            if orphan := self._orphans.pop(pid, None):
                self.post(replace(orphan, exit_code=exit_code))
            return
        if spec.name in self._ranks:
            orphans = self._ranks.pop(spec.name).close(exit_code)
            self._orphans |= {
                pid: RankExited(spec.name, rank, None, ended_by="launch") for pid, rank in orphans.items()
            }
        if watch := self.watches.pop(spec.name, None):
            watch.close()
        self.post(Exited(spec.name, exit_code, ended_by="launch" if pid in self._asked else None))
        self._asked.discard(pid)

    def close(self) -> None:
        """The run has ended: stop watching, and kill every process that is still alive."""
        for watch in self.watches.values():
            watch.close()
        for ranks in self._ranks.values():
            ranks.close(-signal.SIGKILL)
        self.sweep()
