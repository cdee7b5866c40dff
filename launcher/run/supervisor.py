"""Starts the processes of a plan, waits for what happens, and does what the policy says."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any

from launcher.plan.spec import Plan, ProcessSpec
from launcher.run.events import (
    HEARTBEAT,
    DrainTimedOut,
    Event,
    Exited,
    GraceOver,
    GuardDied,
    Heartbeat,
    HungUp,
    Killing,
    Listener,
    NotReady,
    NotStarted,
    Ready,
    Signalled,
    Started,
    Stopping,
)
from launcher.run.policy import Action, Drain, End, Kill, Policy, State, Stop
from launcher.run.processes import children, kill_quietly, signal_group, sweep, variable
from launcher.run.ranks import RankWatch
from launcher.run.ready import until_ready
from launcher.run.spawn import spawn

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


def supervise(plan: Plan, listeners: list[Listener], guard: int | None = None, stop_on_hangup: bool = False) -> Policy:
    """Run the plan to its end; nothing of it is left when this returns.

    `guard` is a pidfd of the guard process. Must be called in the main thread of a subreaper.
    """
    return asyncio.run(_Supervisor(plan, listeners, guard, stop_on_hangup).run())


class _Supervisor:
    def __init__(self, plan: Plan, listeners: list[Listener], guard: int | None, stop_on_hangup: bool) -> None:
        self.plan = plan
        self.policy = Policy(plan)
        self.listeners = listeners
        self.guard = guard
        self.stop_on_hangup = stop_on_hangup
        self.living: dict[int, ProcessSpec] = {}  # pid -> component
        self.ranks: dict[str, RankWatch] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Policy:
        self.loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        self._listen()
        for spec in self.plan.processes:
            if self.policy.state is State.RUNNING:
                self._start(spec)
        self._act(self.policy.all_started())
        await self.ended.wait()
        for task in self.tasks:
            task.cancel()
        for watch in self.ranks.values():
            watch.close()
        self._sweep()
        return self.policy

    def _listen(self) -> None:
        self.loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in ENDING:
            self.loop.add_signal_handler(number, self._emit, Signalled(number))
        hangup = Signalled(signal.SIGHUP) if self.stop_on_hangup else HungUp()
        self.loop.add_signal_handler(signal.SIGHUP, self._emit, hangup)
        if self.guard is not None:
            self.loop.add_reader(self.guard, self._guard_died)

        self._beat()

    def _beat(self) -> None:
        self._tell(Heartbeat())
        self.loop.call_later(HEARTBEAT, self._beat)

    # --- what happens ---

    def _emit(self, event: Event) -> None:
        """Tell everybody, then do what the policy makes of it."""
        actions = self.policy.on(event)
        self._tell(event)
        self._act(actions)

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)

    def _guard_died(self) -> None:
        assert self.guard is not None
        self.loop.remove_reader(self.guard)
        self._emit(GuardDied())

    def _reap(self) -> None:
        """Wait for every child that has ended: components, and orphans that fell to us."""
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
            return
        if spec.name in self.ranks:
            self.ranks[spec.name].close()
        self._kill_orphans_of(spec.name)
        self._emit(Exited(spec.name, exit_code))

    def _kill_orphans_of(self, component: str) -> None:
        """What a component leaves behind is of no use without it, and may hold a GPU."""
        for pid in children(os.getpid()):
            if pid not in self.living and variable(pid, "LAUNCH_COMPONENT") == component:
                kill_quietly(pid, signal.SIGKILL)

    # --- what is done ---

    def _start(self, spec: ProcessSpec) -> None:
        try:
            pid = spawn(spec, os.environ)
        except OSError as error:
            self._emit(NotStarted(spec.name, str(error)))
            return
        self.living[pid] = spec
        self._emit(Started(spec.name, pid))
        if spec.ranks:
            self.ranks[spec.name] = RankWatch(spec, pid, self._emit)
        if spec.ready_url:
            self._in_background(self._await_ready(spec, spec.ready_url))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _await_ready(self, spec: ProcessSpec, url: str) -> None:
        seconds = await until_ready(url, spec.ready_timeout)
        self._emit(NotReady(spec.name, url, spec.ready_timeout) if seconds is None else Ready(spec.name, seconds))

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Stop(reason):
                    self._stop(reason)
                case Kill():
                    self._kill()
                case Drain(seconds):
                    self.loop.call_later(seconds, self._emit, DrainTimedOut(seconds))
                case End():
                    self.ended.set()

    def _stop(self, reason: str) -> None:
        self._tell(Stopping(reason, self.plan.grace))
        for pid in self.living:
            signal_group(pid, signal.SIGTERM)
        self.loop.call_later(self.plan.grace, self._emit, GraceOver())

    def _kill(self) -> None:
        if self.living:
            self._tell(Killing(tuple(spec.name for spec in self.living.values())))
        self._sweep()

    def _sweep(self) -> None:
        for pid, status in sweep().items():
            self._ended(pid, os.waitstatus_to_exitcode(status))
