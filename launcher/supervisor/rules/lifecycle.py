"""The state of a run: it runs, is between two attempts, ends, has ended. The policy decides when it changes."""

import signal
from dataclasses import dataclass, field, replace
from enum import Enum

from launcher.failure.failure import Culprit
from launcher.failure.verdict import Setback, Verdict, judge, overruled
from launcher.plan.spec import Plan
from launcher.supervisor.rules.actions import (
    Action,
    Decided,
    End,
    Explain,
    Kill,
    KillAttempt,
    StartAttempt,
    Stop,
    StopAttempt,
)
from launcher.supervisor.rules.events import Event, Explained, GraceOver, NewAttempt, PauseOver
from launcher.supervisor.rules.roster import Roster


class State(Enum):
    RUNNING = "running"
    RESTARTING = "restarting"  # between two attempts
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass
class Lifecycle(Roster):
    """The state, and what follows from each change of it."""

    state: State = State.RUNNING
    culprit: Culprit | None = None
    ended_by: signal.Signals | None = None  # the signal that ended the run
    stopped_by: str | None = None  # and who sent it: "stopped by pid 4711 (`launch stop`, uid 1001)"
    exits: dict[str, int] = field(default_factory=dict)
    collateral: list[str] = field(default_factory=list)
    restarts: int = 0  # further attempts allowed after a component that finishes has failed
    backoff: float = 0.0  # seconds before the first of them
    verdict: Verdict | None = None  # on this attempt, which has failed
    is_used_up: bool = False  # the run has failed because there was no restart left
    _setbacks: list[Setback] = field(default_factory=list)  # how the earlier attempts failed
    _is_over: bool = False  # the attempt has ended, and the next one has not begun
    _attempt_is_killed: bool = False

    @property
    def exit_code(self) -> int:
        """What launch itself exits with."""
        if self.ended_by is not None:
            return 128 + self.ended_by
        return 0 if self.state is State.FINISHED else 1

    def _between_attempts(self, event: Event) -> list[Action] | None:
        """What happens only after an attempt has failed and before the next one begins. None for everything else."""
        match event:
            case Explained():
                return self._on_explained(event)
            case PauseOver() if self.verdict and self._is_over:
                return [StartAttempt()]
            case NewAttempt(plan):
                self._on_new_attempt(plan)
                return []
            case GraceOver() if self._is_over:  # the last component ended in the same moment
                return []
            case GraceOver() if not self._attempt_is_killed:
                self._attempt_is_killed = True
                return [KillAttempt()]
            case GraceOver():
                left = ", ".join(sorted(self._finishing()))
                return [*self._give_up(f"{left} cannot be killed, so there can be no other attempt"), self._kill()]
        return None

    def _on_new_attempt(self, plan: Plan) -> None:
        """Forget how the last attempt ended."""
        self.state, self.culprit, self.verdict = State.RUNNING, None, None
        self._attempt_is_killed = self._is_over = False
        self._begin_again(plan)
        self.exits.clear()
        self.collateral.clear()

    def _restart(self, reason: str) -> list[Action]:
        self.restarts -= 1
        self.state = State.RESTARTING
        return [StopAttempt(reason), *self._when_attempt_is_over()]

    def _when_over(self) -> list[Action]:
        return self._when_attempt_is_over() if self.state is State.RESTARTING else self._when_empty()

    def _when_attempt_is_over(self) -> list[Action]:
        if self._is_over or self._starting or self._finishing():
            return []
        self._is_over = True
        return [Explain()]

    def _on_explained(self, event: Explained) -> list[Action]:
        self.verdict = verdict = judge(self._setbacks, event.setback, self.backoff)
        self._setbacks.append(event.setback)
        if not verdict.again:
            why = self._named(self.culprit).text if self.culprit else verdict.why
            return [Decided(verdict), *self._stop(State.FAILED, why)]
        return [Decided(verdict), *([] if verdict.seconds else [StartAttempt()])]

    def _stop(self, state: State, reason: str) -> list[Action]:
        self.state = state
        return [Stop(reason, self.plan.grace), *self._when_empty()]

    def _when_empty(self) -> list[Action]:
        return [End()] if self._has_ended() else []

    def _has_ended(self) -> bool:
        return self._is_ending() and not (self._starting or self._alive)

    def _give_up(self, why: str) -> list[Action]:
        """End the run although no process is the reason. An earlier culprit stays the culprit."""
        if self._is_ending():
            return [self._kill(), *self._when_empty()]
        found, decided = self.culprit, self._overrule(why)
        self.culprit = replace(found, what=f"{found.what}; {why}") if found else Culprit("launch", why)
        return [*decided, *self._stop(State.FAILED, why)]

    def _overrule(self, why: str) -> list[Action]:
        """There is no other attempt after all, whatever was decided."""
        if self.state is not State.RESTARTING or (self.verdict and not self.verdict.again):
            return []
        failed = self._named(self.culprit).text if self.culprit else "launch"
        self.verdict = overruled(self.verdict, failed, why)
        return [Decided(self.verdict)]

    def _is_ending(self) -> bool:
        return self.state not in (State.RUNNING, State.RESTARTING)

    def _kill(self) -> Kill:
        return Kill(tuple(spec.name for spec in self.plan.processes if spec.name in self._alive))

    def _named(self, culprit: Culprit) -> Culprit:
        """The culprit, as shown to people."""
        return culprit
