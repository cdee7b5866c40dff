"""What to do when something happens to a run: decisions only, no process is touched and no clock is read here."""

import signal
from dataclasses import dataclass, field
from enum import Enum

from launcher.plan.spec import Plan, Role
from launcher.run.events import (
    DrainTimedOut,
    Event,
    Exited,
    GraceOver,
    GuardDied,
    NotReady,
    NotStarted,
    RankExited,
    Signalled,
    Stalled,
    Started,
    exit_text,
    received_text,
)


class State(Enum):
    RUNNING = "running"
    RESTARTING = "restarting"  # between two attempts
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Stop:
    """Ask every component to end, and kill what is left after the grace."""

    reason: str


@dataclass(frozen=True)
class StopAttempt:
    """Ask the components that finish to end, and kill them after the grace; servers and services stay."""

    reason: str


@dataclass(frozen=True)
class KillAttempt:
    """Kill the components that finish."""


@dataclass(frozen=True)
class StartAttempt:
    """Start the components that finish again, as the next attempt."""


@dataclass(frozen=True)
class Kill:
    """Kill everything at once."""


@dataclass(frozen=True)
class Drain:
    """Give the last component so many seconds to finish."""

    seconds: float


@dataclass(frozen=True)
class End:
    """Nothing of the run is left that could be waited for."""


Action = Stop | StopAttempt | KillAttempt | StartAttempt | Kill | Drain | End


@dataclass(frozen=True)
class Culprit:
    """Whose ending ended the run."""

    component: str
    what: str
    rank: int | None = None
    exit_code: int | None = None


@dataclass
class Policy:
    """The state of a run and the rules by which it ends.

    A component that FINISHES ends the run when all of them have exited 0, or when one has not; one that SERVES ends it
    by exiting at all. The first cause counts, whatever ends afterwards is collateral.
    """

    plan: Plan
    state: State = State.RUNNING
    culprit: Culprit | None = None
    ended_by: signal.Signals | None = None  # the signal that ended the run
    exits: dict[str, int] = field(default_factory=dict)
    collateral: list[str] = field(default_factory=list)
    restarts: int = 0  # how many further attempts a failure of a component that finishes may have
    _alive: set[str] = field(default_factory=set)
    _all_started: bool = False

    def all_started(self) -> list[Action]:
        """Every component has been tried to start."""
        self._all_started = True
        return self._when_attempt_is_over() if self.state is State.RESTARTING else self._when_empty()

    def next_attempt(self, plan: Plan) -> None:
        """The plan of the next attempt; what the last one came to is forgotten."""
        self.plan, self.state, self.culprit = plan, State.RUNNING, None
        self.exits.clear()
        self.collateral.clear()

    def give_up(self, why: str) -> list[Action]:
        """End the run instead of beginning another attempt."""
        self.culprit = Culprit("launch", why)
        return self._stop(State.FAILED, why)

    def on(self, event: Event) -> list[Action]:
        """Take note of the event; say what is to be done."""
        match event:
            case Started(component):
                self._alive.add(component)
            case NotStarted(component, reason):
                return self._fail(Culprit(component, f"could not be started: {reason}"))
            case Exited(component, code):
                return self._on_exit(component, code)
            case RankExited(component, _, code, signal.Signals() as got) if code:
                return self._fail(Culprit(component, received_text(got)))
            case RankExited(component, rank, code) if code and not self._restarts_ranks(component):
                return self._fail(Culprit(component, exit_text(code), rank, code))
            case NotReady(component, url, timeout):
                return self._fail(Culprit(component, f"was not ready within {timeout:g}s: {url} does not answer"))
            case DrainTimedOut(seconds):
                late = ", ".join(sorted(self._finishing()))
                return self._fail(Culprit(late, f"did not finish within {seconds:g}s of the others"))
            case Signalled(number):
                return self._on_signal(number)
            case GuardDied():
                return self._on_guard_death()
            case Stalled(seconds, rank, where):
                what = f"nothing has been logged and no step made for {seconds:g}s"
                return self._fail(Culprit(self.plan.followed.name, f"{what}; {where}" if where else what, rank))
            case GraceOver():
                return [KillAttempt() if self.state is State.RESTARTING else Kill()]
        return []

    @property
    def exit_code(self) -> int:
        """What launch itself exits with."""
        if self.ended_by is not None:
            return 128 + self.ended_by
        return 0 if self.state is State.FINISHED else 1

    # --- rules ---

    def _on_exit(self, component: str, code: int) -> list[Action]:
        self._alive.discard(component)
        self.exits[component] = code
        if self.state is State.RESTARTING and self._role(component) is Role.FINISHES:
            self.collateral.append(component)
            return self._when_attempt_is_over()
        if self.state not in (State.RUNNING, State.RESTARTING):
            self.collateral.append(component)
            return self._when_empty()
        if code != 0:
            return self._fail(Culprit(component, exit_text(code), exit_code=code))
        if self._role(component) is Role.SERVES:
            return self._fail(Culprit(component, "ended (exit code 0) while the run still needed it", exit_code=0))
        if self._finishing():
            return [Drain(self.plan.drain_timeout)]
        return self._stop(State.FINISHED, "the run has finished")

    def _on_signal(self, number: signal.Signals) -> list[Action]:
        if self.state not in (State.RUNNING, State.RESTARTING):
            return [Kill()]
        self.ended_by = number
        if number is signal.SIGQUIT:
            self.state = State.STOPPED
            return [Kill(), *self._when_empty()]
        return self._stop(State.STOPPED, f"{number.name} was received")

    def _on_guard_death(self) -> list[Action]:
        if self.state in (State.RUNNING, State.RESTARTING):
            self.culprit = Culprit("launch", "its guard process was killed")
            self.state = State.FAILED
        return [Kill()]

    def _fail(self, culprit: Culprit) -> list[Action]:
        if self.state is State.RESTARTING and not self._is_served_by(culprit.component):
            return []
        if self.state not in (State.RUNNING, State.RESTARTING):
            return []
        self.culprit = culprit
        where = culprit.component if culprit.rank is None else f"{culprit.component} rank {culprit.rank}"
        reason = f"{where}: {culprit.what}"
        if self.restarts > 0 and not self._is_served_by(culprit.component):
            return self._restart(reason)
        return self._stop(State.FAILED, reason)

    def _restart(self, reason: str) -> list[Action]:
        self.restarts -= 1
        self.state = State.RESTARTING
        return [StopAttempt(reason), *self._when_attempt_is_over()]

    def _when_attempt_is_over(self) -> list[Action]:
        return [StartAttempt()] if self._all_started and not self._finishing() else []

    def _stop(self, state: State, reason: str) -> list[Action]:
        self.state = state
        return [Stop(reason), *self._when_empty()]

    def _when_empty(self) -> list[Action]:
        over = self.state not in (State.RUNNING, State.RESTARTING)
        ended = self._all_started and over and not self._alive
        return [End()] if ended else []

    # --- questions ---

    def _finishing(self) -> set[str]:
        return {name for name in self._alive if self._role(name) is Role.FINISHES}

    def _is_served_by(self, component: str) -> bool:
        return any(spec.name == component and spec.role is Role.SERVES for spec in self.plan.processes)

    def _role(self, component: str) -> Role:
        return next(spec.role for spec in self.plan.processes if spec.name == component)

    def _restarts_ranks(self, component: str) -> bool:
        spec = next(spec for spec in self.plan.processes if spec.name == component)
        return spec.ranks is not None and spec.ranks.restarts > 0
