"""Runs a plan: waits for events, and carries out what the policy decides."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from launcher.control.inbox import Inbox
from launcher.errors import UserError
from launcher.failure.failure import Failure
from launcher.failure.verdict import Setback
from launcher.logger import get_logger
from launcher.nodes.peers import Links
from launcher.plan.spec import Plan, ProcessSpec, Role
from launcher.processes.guard_fork import Guard
from launcher.processes.process_tree import SWEEP_SECONDS, end_orphans
from launcher.processes.sender import Sender
from launcher.processes.signals import SignalInbox
from launcher.runs.liveness import HEARTBEAT
from launcher.supervisor.components import Components
from launcher.supervisor.deadline import Deadline
from launcher.supervisor.looks import Diagnose as DiagnoseLooks
from launcher.supervisor.looks import Looks, Take
from launcher.supervisor.rules.actions import (
    Action,
    Answer,
    Await,
    AwaitNodes,
    Decided,
    Diagnose,
    Drain,
    End,
    EndOne,
    Explain,
    Kill,
    KillAttempt,
    KillOne,
    Listener,
    Start,
    StartAgain,
    StartAttempt,
    Stop,
    StopAttempt,
)
from launcher.supervisor.rules.events import (
    CannotContinue,
    DrainTimedOut,
    Event,
    Exited,
    Explained,
    GraceOver,
    GuardDied,
    Heartbeat,
    HungUp,
    NewAttempt,
    NodesOverdue,
    OneOverdue,
    PauseOver,
    RankExited,
    RestartAsked,
    Signalled,
    Stalled,
    SuspectsOverdue,
    WatcherDied,
)
from launcher.supervisor.rules.lifecycle import State
from launcher.supervisor.rules.node_policy import NodePolicy
from launcher.supervisor.rules.policy import Policy
from launcher.supervisor.suspects import RecentLogs, find_suspects
from launcher.supervisor.watchdog import report_quiet, watched

NODES_MARGIN = 10.0  # seconds beyond the grace that other nodes have


@dataclass(frozen=True)
class Conduct:
    """The supervisor's settings beside its plan."""

    guard: Guard | None = None
    signals_reach_all: bool = False  # a job ends: each process or node may get the signal, and late
    stop_on_hangup: bool = False
    backoff: float = 0.0  # seconds before the first restart
    next_attempt: Callable[[Policy], Plan] | None = None  # makes the next attempt's plan; needed for restarts
    setback: Callable[[Failure | None], Setback] | None = None  # how an attempt failed; needed for restarts
    watchdog: float | None = None  # seconds that a run may be silent
    look: Take | None = None  # finds out what the processes are doing
    diagnose: DiagnoseLooks | None = None  # and why they have stalled
    links: Links | None = None  # to the other nodes
    explain: Callable[[Policy], Failure | None] | None = None  # the failure, when nothing of the attempt is alive


def supervise(plan: Plan, listeners: list[Listener], conduct: Conduct = Conduct()) -> Policy:
    """Run the plan to its end. No process of it is alive when this returns.

    Must be called in the main thread of a subreaper. Signals stay blocked after the run, so that none can change this
    process's exit code.
    """
    return asyncio.run(_Supervisor(plan, listeners, conduct).run())


class _Supervisor:
    """One queue of events, and one loop that handles them. Every other part only posts events."""

    def __init__(self, plan: Plan, listeners: list[Listener], conduct: Conduct) -> None:
        self.plan, self.listeners, self.conduct = plan, listeners, conduct
        restarts = plan.max_restarts if conduct.next_attempt and conduct.setback else 0
        kind = NodePolicy if plan.nodes else Policy
        self.policy = kind(
            plan, restarts=restarts, backoff=conduct.backoff, signals_reach_all=conduct.signals_reach_all
        )
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.post = self.events.put_nowait
        self.components = Components(self._post_with_suspects)
        self.has_ended = False
        self.deadline = Deadline(self.post)
        self.tasks: set[asyncio.Task[None]] = set()
        self.looks = Looks(plan.nodes, conduct.links, conduct.look, conduct.diagnose, self.post, self._in_background)
        self.server_logs = RecentLogs()
        self.requests = Inbox(
            plan.run, lambda number, name, by: self.post(RestartAsked(name, number, by)), self.looks.packed_others
        )
        self.signals = SignalInbox(conduct.guard.signals if conduct.guard else None, self._hear)

    async def run(self) -> Policy:
        self._startup()
        await self._main_loop()
        self._shutdown()
        return self.policy

    def _startup(self) -> None:
        """Begin to post everything that happens."""
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(self._unexpected)
        self.signals.listen(self.loop)
        self._take_requests()
        if guard := self.conduct.guard:
            for life, event in (guard.life, GuardDied()), (guard.watcher, WatcherDied()):
                self.loop.add_reader(life, self._above_died, life, event)
        self._beat()
        for component, seconds in watched(self.plan, self.conduct.watchdog).items():
            self._in_background(report_quiet(component, seconds, self._running, self.post))
        if self.conduct.links:
            self.conduct.links.listen(self.loop, self.post, self.looks.hear)

    def _take_requests(self) -> None:
        try:
            self.requests.listen(self.loop)
        except OSError as error:
            get_logger().info("launch restart will not work: no socket in the run's directory: {}", error.strerror)

    async def _main_loop(self) -> None:
        self._do(self.policy.begin())
        while not self.has_ended:
            event = await self.events.get()
            if not self.deadline.is_outdated(event):
                self._handle(event)

    def _shutdown(self) -> None:
        """Stop watching, kill what is still alive, and handle the events that are still in the queue."""
        for task in self.tasks:
            task.cancel()
        self.components.close()
        self.requests.close()
        if self.conduct.links:
            self.conduct.links.close()
        self.signals.close()
        while not self.events.empty():
            event = self.events.get_nowait()
            self.policy.on(event)
            self._tell(event)

    # --- the loop ---

    def _handle(self, event: Event) -> None:
        try:
            actions = self.policy.on(event)
            self._tell(event)
            self._do(actions)
            if isinstance(event, Exited):
                self.components.kill_orphans_of(event.component)
        except Exception as error:  # our own mistake: end the run rather than hang
            get_logger().exception("launch itself has failed at {}", event)
            if isinstance(event, CannotContinue):
                raise  # a second one would fail in the same way; the guard ends what lives
            self.post(CannotContinue(f"launch itself failed: {error!r}"))

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            self._carry_out(action)  # first: processes must end within milliseconds
            self._tell(action)
        self._tell_nodes()

    def _tell(self, happening: Event | Action) -> None:
        for listener in self.listeners:
            try:
                listener(happening)
            except Exception:  # a view that fails must not keep the run from being ended
                get_logger().exception("a listener failed at {}", happening)

    def _tell_nodes(self) -> None:
        if self.conduct.links is None or not isinstance(self.policy, NodePolicy):
            return
        report = self.policy.report()
        if report.ended and self.conduct.explain:
            report = replace(report, failure=self.conduct.explain(self.policy))
        self.conduct.links.tell(report)

    def _post_with_suspects(self, event: Event) -> None:
        try:
            event = self._with_suspects(event)
        except Exception:  # the end of a process is posted whatever happens
            get_logger().exception("no suspects could be looked for at {}", event)
        self.post(event)

    def _with_suspects(self, event: Event) -> Event:
        """Add the servers that a failed client may have died of, as they are now. A signal's end has no suspects."""
        if not isinstance(event, (Exited, RankExited)) or not event.exit_code or event.exit_code < 0:
            return event
        spec = self.plan.process(event.component)
        if self.policy.state is not State.RUNNING or spec is None or spec.role is Role.SERVES:
            return event
        found = find_suspects(list(self.components.serving()), self.server_logs)
        return replace(event, suspects=found) if found else event

    # --- events ---

    def _beat(self) -> None:
        self.post(Heartbeat())
        self.server_logs.beat()
        self.loop.call_later(HEARTBEAT, self._beat)

    def _hear(self, number: signal.Signals, sender: Sender | None) -> None:
        if number is signal.SIGCHLD:
            self.components.reap()
        elif number is signal.SIGHUP and not self.conduct.stop_on_hangup:
            self.post(HungUp())
        else:
            self.post(Signalled(number, sender))

    def _above_died(self, life: int, event: Event) -> None:
        self.loop.remove_reader(life)
        self.post(event)

    def _unexpected(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Our own mistake in a callback or a task: end the run."""
        error = context.get("exception")
        get_logger().opt(exception=error).error("{}", context["message"])
        self.post(CannotContinue(f"launch itself failed: {error!r}"))

    def _running(self) -> tuple[Plan, frozenset[str]]:
        is_running = self.policy.state is State.RUNNING
        return self.plan, frozenset(spec.name for spec in self.components.living.values() if is_running)

    async def _diagnose(self, component: str, seconds: float) -> None:
        plan, diagnosis = self.plan, await self.looks.diagnosis()
        if plan is self.plan:  # else the attempt that stalled is over
            self.post(Stalled(component, seconds, diagnosis))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # --- actions ---

    def _carry_out(self, action: Action) -> None:
        match action:
            case Start(component) | StartAgain(component):
                self._start(component)
            case Stop():
                self._ask_to_end(self.components.pids())
            case StopAttempt():
                self._ask_to_end(self.components.pids(role=Role.FINISHES))
            case KillAttempt():
                self.components.kill_with_ranks(self.components.pids(role=Role.FINISHES))
                self.deadline.set(SWEEP_SECONDS, GraceOver())
            case Explain():
                self.loop.call_soon(self._explain)  # the other nodes hear of the failure first
            case Decided(verdict) if verdict.again and verdict.seconds:
                self.deadline.set(verdict.seconds, PauseOver())
            case StartAttempt():
                self._start_attempt()
            case EndOne(component):
                self.components.ask_to_end(self.components.pids(component))
                self._post_if_it_lives(self.plan.grace, component)
            case KillOne(component):
                self.components.kill_with_ranks(self.components.pids(component))
                self._post_if_it_lives(SWEEP_SECONDS, component)
            case Kill():
                self.components.kill()
            case Await(_, seconds):
                self.deadline.set(seconds, SuspectsOverdue())
            case Diagnose(component, seconds):
                self._in_background(self._diagnose(component, seconds))
            case Drain(seconds):
                self.deadline.set(seconds, DrainTimedOut(seconds))
            case Answer(request, refusal):
                self.requests.answer(request, refusal)
            case AwaitNodes():
                self.deadline.set(self.plan.grace + NODES_MARGIN, NodesOverdue())
            case End():
                self.has_ended = True

    def _start(self, component: str) -> None:
        spec = self.plan.process(component)
        assert spec is not None
        if spec.role is Role.SERVES:
            self.server_logs.started(spec.log)
        self.components.start(spec)

    def _ask_to_end(self, pids: list[int]) -> None:
        self.components.hurry()  # first: afterwards a rank may have ended because of it
        self.components.ask_to_end(pids)
        self.deadline.set(self.plan.grace, GraceOver())

    def _post_if_it_lives(self, seconds: float, component: str) -> None:
        for pid in self.components.pids(component):
            self.loop.call_later(seconds, self._overdue, pid, self.components.living[pid])

    def _overdue(self, pid: int, spec: ProcessSpec) -> None:
        if self.components.living.get(pid) is spec:
            self.post(OneOverdue(spec.name))

    def _explain(self) -> None:
        """End what the attempt has left behind, and find out how it failed. Not if the run is being ended by now."""
        if self.policy.state is not State.RESTARTING:
            return
        assert self.conduct.setback is not None
        self.deadline.cancel()
        self.components.forget_orphans()
        end_orphans({pid: spec.name for pid, spec in self.components.living.items()})
        self.loop.call_soon(self.components.reap)  # end_orphans may have consumed the SIGCHLD of another child
        failure = self.conduct.explain(self.policy) if self.conduct.explain else None
        self.post(Explained(self.conduct.setback(failure), failure))

    def _start_attempt(self) -> None:
        assert self.conduct.next_attempt is not None
        self.deadline.cancel()
        try:
            self.plan = self.conduct.next_attempt(self.policy)
        except (OSError, UserError) as error:
            self.post(CannotContinue(f"another attempt cannot be made: {error}"))
            return
        self.looks.places = self.plan.nodes.places if self.plan.nodes else (0,)
        self.post(NewAttempt(self.plan))
