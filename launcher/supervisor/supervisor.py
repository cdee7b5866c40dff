"""Runs a plan: waits for events, and carries out what the policy decides."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from launcher.errors import UserError
from launcher.logger import get_logger
from launcher.plan.spec import Plan, ProcessSpec, Role
from launcher.processes.process_tree import SWEEP_SECONDS, end_orphans
from launcher.supervisor.components import Components
from launcher.supervisor.conduct import Conduct
from launcher.supervisor.deadline import Deadline
from launcher.supervisor.looks import Looks
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
    NewAttempt,
    NodesOverdue,
    OneOverdue,
    PauseOver,
    RankExited,
    Stalled,
    SuspectsOverdue,
)
from launcher.supervisor.rules.lifecycle import State
from launcher.supervisor.rules.node_policy import NodePolicy
from launcher.supervisor.rules.policy import Policy
from launcher.supervisor.sensors import Sensors
from launcher.supervisor.suspects import find_suspects

NODES_MARGIN = 10.0  # seconds beyond the grace that other nodes have


def supervise(plan: Plan, listeners: list[Listener], conduct: Conduct) -> Policy:
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
        self.sensors = Sensors(plan, conduct, self.components, self.looks, self.post)

    async def run(self) -> Policy:
        self._startup()
        await self._main_loop()
        self._shutdown()
        return self.policy

    def _startup(self) -> None:
        """Begin to post everything that happens."""
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(self._unexpected)
        self.sensors.start(self._running, self._in_background)

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
        self.sensors.close()
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
        found = find_suspects(list(self.components.serving()), self.components.server_logs)
        return replace(event, suspects=found) if found else event

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
                self.sensors.requests.answer(request, refusal)
            case AwaitNodes():
                self.deadline.set(self.plan.grace + NODES_MARGIN, NodesOverdue())
            case End():
                self.has_ended = True

    def _start(self, component: str) -> None:
        spec = self.plan.process(component)
        assert spec is not None
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
