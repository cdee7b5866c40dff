"""Starts the processes of a plan, waits for what happens, and does what the policy says."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from launcher.errors import UserError
from launcher.failure.failure import Diagnosis, Failure
from launcher.logger import get_logger
from launcher.nodes.messages import Lost, Reported
from launcher.nodes.peers import Links
from launcher.plan.spec import Plan, ProcessSpec, Role
from launcher.processes.guard_fork import Guard
from launcher.processes.process_tree import (
    SWEEP_SECONDS,
    end_orphans,
    kill_orphans_of,
    signal_group,
    sweep,
    zombie_exit_code,
)
from launcher.processes.sender import Sender
from launcher.processes.signals import SignalInbox
from launcher.processes.spawn import spawn
from launcher.runs.liveness import HEARTBEAT
from launcher.supervisor.actions import (
    Action,
    Await,
    AwaitNodes,
    Diagnose,
    Drain,
    End,
    EndOne,
    Kill,
    KillAttempt,
    StartAgain,
    StartAttempt,
    Stop,
    StopAttempt,
)
from launcher.supervisor.events import (
    Awaiting,
    DrainTimedOut,
    EndingOne,
    Event,
    Exited,
    GraceOver,
    GuardDied,
    Heartbeat,
    HungUp,
    Killing,
    Listener,
    NewAttempt,
    NodesOverdue,
    NotStarted,
    RankExited,
    Ready,
    Restarting,
    Signalled,
    Stalled,
    Started,
    StartingAgain,
    Stopping,
    SuspectsOverdue,
    WatcherDied,
)
from launcher.supervisor.node_policy import NodePolicy
from launcher.supervisor.policy import Policy, State
from launcher.supervisor.rank_watch import RankWatch
from launcher.supervisor.serving import Watch
from launcher.supervisor.suspects import RecentLogs, find_suspects
from launcher.supervisor.watchdog import report_quiet, watched

NODES_MARGIN = 10.0  # seconds beyond the grace that other nodes have


@dataclass(frozen=True)
class Conduct:
    """What a supervisor may be told beside its plan."""

    guard: Guard | None = None
    signals_reach_all: bool = False  # who ends the run signals each of its processes, as Slurm does
    stop_on_hangup: bool = False
    max_restarts: int = 0
    next_attempt: Callable[[Policy], Plan] | None = None  # makes the plan of another attempt; needed for restarts
    watchdog: float | None = None  # seconds that a run may be silent
    diagnose: Callable[[], Diagnosis] | None = None  # looks at what the processes do
    links: Links | None = None  # to the other nodes
    explain: Callable[[Policy], Failure | None] | None = None  # what the other nodes are told at the end


def supervise(plan: Plan, listeners: list[Listener], conduct: Conduct = Conduct()) -> Policy:
    """Run the plan to its end; nothing of it is left when this returns.

    Must be called in the main thread of a subreaper. What asks the run to end is not heard any more after it has ended:
    the signals stay blocked, so that none changes what this process exits with.
    """
    return asyncio.run(_Supervisor(plan, listeners, conduct).run())


class _Supervisor:
    def __init__(self, plan: Plan, listeners: list[Listener], conduct: Conduct) -> None:
        self.plan = plan
        restarts = conduct.max_restarts if conduct.next_attempt else 0
        kind = NodePolicy if plan.nodes else Policy
        self.policy = kind(plan, restarts=restarts, signals_reach_all=conduct.signals_reach_all)
        self.listeners = listeners
        self.conduct = conduct
        self.deadline: asyncio.TimerHandle | None = None  # of the grace, or of the drain
        self.living: dict[int, ProcessSpec] = {}  # pid -> component
        self.asked: set[int] = set()  # pids of components that lived when they were asked to end
        self.orphans: dict[int, RankExited] = {}  # pids of ranks that outlived their torchrun, and have to end now
        self.ranks: dict[str, RankWatch] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.watches: dict[str, Watch] = {}  # component -> what asks whether it can be used
        self.server_logs = RecentLogs()
        self.signals = SignalInbox(conduct.guard.signals if conduct.guard else None, self._hear)

    async def run(self) -> Policy:
        self.loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        self.loop.set_exception_handler(self._unexpected)
        self._listen()
        self._start_all_that_can()
        self._act(self.policy.all_started())
        await self.ended.wait()
        for task in self.tasks:
            task.cancel()
        for watch in self.ranks.values():
            watch.close(-signal.SIGKILL)
        if self.conduct.links:
            self.conduct.links.close()
        self.signals.close()
        self._sweep()
        return self.policy

    def _listen(self) -> None:
        self.signals.listen(self.loop)
        if self.conduct.guard is not None:
            for life, event in (self.conduct.guard.life, GuardDied()), (self.conduct.guard.watcher, WatcherDied()):
                self.loop.add_reader(life, self._above_died, life, event)
        self._beat()
        for component, seconds in watched(self.plan, self.conduct.watchdog).items():
            self._in_background(report_quiet(component, seconds, self._living, self._emit))
        if self.conduct.links:
            self.conduct.links.listen(self.loop, self._hear_node)

    def _beat(self) -> None:
        self._tell(Heartbeat())
        self.server_logs.beat()
        self.loop.call_later(HEARTBEAT, self._beat)

    # --- what happens ---

    def _emit(self, event: Event) -> None:
        """Tell everybody, then do what the policy makes of it."""
        event = self._with_suspects(event)
        actions = self.policy.on(event)
        self._tell(event)
        self._act(actions)
        if isinstance(event, (Ready, Exited)):
            self._start_all_that_can()

    def _with_suspects(self, event: Event) -> Event:
        """What a client that failed may have died of. One that a signal ended did not die of its server."""
        if not isinstance(event, (Exited, RankExited)) or not event.exit_code or event.exit_code < 0:
            return event
        spec = self.plan.process(event.component)
        if self.policy.state is not State.RUNNING or spec is None or spec.role is Role.SERVES:
            return event
        servers = [spec for spec in self.living.values() if spec.role is Role.SERVES]
        found = find_suspects([(spec, self.watches.get(spec.name)) for spec in servers], self.server_logs)
        return replace(event, suspects=found) if found else event

    def _hear_node(self, event: Reported | Lost) -> None:
        """Another node's word. That the run stands still is looked at here too, before anything is ended."""
        has_stalled = isinstance(event, Reported) and event.report.culprit and event.report.culprit.words
        if has_stalled and self.policy.state is State.RUNNING:
            self._in_background(self._look_then_follow(event))
        else:
            self._emit(event)

    async def _look_then_follow(self, event: Reported | Lost) -> None:
        self._tell(Stalled("", 0.0, await self._diagnosis()))
        self._emit(event)

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            try:
                listener(event)
            except Exception:  # a view that fails must not keep the run from being ended
                get_logger().exception("a listener failed at {}", event)

    def _unexpected(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A mistake of ours: end the run rather than hang with it."""
        error = context.get("exception")
        get_logger().opt(exception=error).error("{}", context["message"])
        self._act(self.policy.give_up(f"launch itself failed: {error!r}"))

    def _above_died(self, life: int, event: Event) -> None:
        self.loop.remove_reader(life)
        self._emit(event)

    def _hear(self, number: signal.Signals, sender: Sender | None) -> None:
        if number is signal.SIGCHLD:
            self._reap()
        elif number is signal.SIGHUP and not self.conduct.stop_on_hangup:
            self._emit(HungUp())
        else:
            self._emit(Signalled(number, sender))

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
            if orphan := self.orphans.pop(pid, None):
                self._tell(replace(orphan, exit_code=exit_code))
            return
        if spec.name in self.ranks:
            orphans = self.ranks.pop(spec.name).close(exit_code)
            self.orphans |= {pid: RankExited(spec.name, rank, None, ended_by="launch") for pid, rank in orphans.items()}
        if watched := self.watches.pop(spec.name, None):
            watched.close()
        kill_orphans_of(spec.name, self.living)
        self._emit(Exited(spec.name, exit_code, ended_by="launch" if pid in self.asked else None))
        self.asked.discard(pid)

    def _living(self) -> tuple[Plan, frozenset[str]]:
        is_running = self.policy.state is State.RUNNING
        return self.plan, frozenset(spec.name for spec in self.living.values() if is_running)

    async def _diagnose(self, component: str, seconds: float) -> None:
        self._emit(Stalled(component, seconds, await self._diagnosis()))

    async def _diagnosis(self) -> Diagnosis:
        if self.conduct.diagnose is None:
            return Diagnosis()
        try:
            return await asyncio.to_thread(self.conduct.diagnose)
        except Exception as error:
            return Diagnosis(lines=(f"no stacks could be taken: {error}",))

    # --- what is done ---

    def _start_all_that_can(self) -> None:
        while spec := self.policy.next_to_start():
            self._start(spec)

    def _start(self, spec: ProcessSpec) -> None:
        if spec.role is Role.SERVES:
            self.server_logs.started(spec.log)
        watched = Watch(spec) if spec.ready or spec.alive else None
        try:
            pid = spawn(spec, os.environ)
        except OSError as error:
            self._emit(NotStarted(spec.name, str(error)))
            return
        self.living[pid] = spec
        self._emit(Started(spec.name, pid))
        if spec.ranks:
            self.ranks[spec.name] = RankWatch(spec, pid, self._emit)
        if watched:
            self.watches[spec.name] = watched
            watched.task = self._in_background(watched.run(self._emit))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Stop(reason):
                    self._stop(reason)
                case StopAttempt(reason):
                    self._stop_attempt(reason)
                case KillAttempt():
                    self._signal_attempt(signal.SIGKILL)
                    self._set_deadline(SWEEP_SECONDS, GraceOver())
                case StartAttempt():
                    self._start_attempt()
                case StartAgain(component, what, left):
                    self._tell(StartingAgain(component, what, left))
                    self._start(next(spec for spec in self.plan.processes if spec.name == component))
                case EndOne(component, why):
                    self._end_one(component, why)
                case Kill():
                    self._kill()
                case Await(suspects, seconds):
                    self._tell(Awaiting(suspects, seconds))
                    self._set_deadline(seconds, SuspectsOverdue())
                case Diagnose(component, seconds):
                    self._in_background(self._diagnose(component, seconds))
                case Drain(seconds):
                    self._set_deadline(seconds, DrainTimedOut(seconds))
                case AwaitNodes():
                    self._set_deadline(self.plan.grace + NODES_MARGIN, NodesOverdue())
                case End():
                    self.ended.set()
        self._tell_nodes()

    def _tell_nodes(self) -> None:
        if self.conduct.links is None or not isinstance(self.policy, NodePolicy):
            return
        report = self.policy.report()
        failure = self.conduct.explain(self.policy) if report.ended and self.conduct.explain else None
        self.conduct.links.tell(replace(report, failure=failure))

    def _stop(self, reason: str) -> None:
        self._tell(Stopping(reason, self.plan.grace))
        for pid in self.living:
            self._ask_to_end(pid)
        self._after_signal()

    def _after_signal(self) -> None:
        for watch in self.ranks.values():
            watch.hurry()
        self._set_deadline(self.plan.grace, GraceOver())

    def _set_deadline(self, seconds: float, event: Event) -> None:
        """There is one at a time: the end of a run takes the place of its drain."""
        if self.deadline:
            self.deadline.cancel()
        self.deadline = self.loop.call_later(seconds, self._emit, event)

    def _stop_attempt(self, reason: str) -> None:
        self._tell(Restarting(reason))
        self._signal_attempt(signal.SIGTERM)
        self._after_signal()

    def _signal_attempt(self, number: signal.Signals) -> None:
        for pid, spec in self.living.items():
            if spec.role is Role.FINISHES:
                self._send(pid, number)

    def _start_attempt(self) -> None:
        assert self.conduct.next_attempt is not None
        if self.deadline:
            self.deadline.cancel()
        self.orphans.clear()
        end_orphans({pid: spec.name for pid, spec in self.living.items()})
        self.loop.call_soon(self._reap)  # which may have taken the SIGCHLD of another one
        try:
            self.plan = self.conduct.next_attempt(self.policy)
        except (OSError, UserError) as error:
            self._act(self.policy.give_up(f"another attempt cannot be made: {error}"))
            return
        self.policy.next_attempt(self.plan)
        self._tell(NewAttempt(self.plan))
        self._start_all_that_can()

    def _end_one(self, component: str, why: str) -> None:
        self._tell(EndingOne(component, why))
        for pid, spec in self.living.items():
            if spec.name == component:
                self._ask_to_end(pid)
                self.loop.call_later(self.plan.grace, self._kill_one, pid, spec)

    def _kill_one(self, pid: int, spec: ProcessSpec) -> None:
        if self.living.get(pid) is spec:
            self._send(pid, signal.SIGKILL)
            self.loop.call_later(SWEEP_SECONDS, self._give_up_on, pid, spec)

    def _give_up_on(self, pid: int, spec: ProcessSpec) -> None:
        if self.living.get(pid) is spec:
            self._act(self.policy.give_up(f"{spec.name} cannot be killed, so it cannot be started again"))

    def _kill(self) -> None:
        if self.living:
            self._tell(Killing(tuple(spec.name for spec in self.living.values())))
        for pid in self.living:
            self._send(pid, signal.SIGKILL)
        for watch in self.ranks.values():
            watch.hurry()
        self._sweep()
        for pid in tuple(self.living):  # it hangs in the kernel, for as long as a driver or a file server likes
            self._ended(pid, -signal.SIGKILL)

    def _sweep(self) -> None:
        for pid, status in sweep().items():
            self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ask_to_end(self, pid: int) -> None:
        self._send(pid, signal.SIGTERM)
        signal_group(pid, signal.SIGCONT)  # what is stopped would not hear it

    def _send(self, pid: int, number: signal.Signals) -> None:
        if zombie_exit_code(pid) is None:
            self.asked.add(pid)
        signal_group(pid, number)
