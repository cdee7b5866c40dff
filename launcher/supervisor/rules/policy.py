"""Decides what to do when something happens to a run. It touches no process and reads no clock."""

import signal
from dataclasses import dataclass, field

from launcher.failure.failure import Culprit, Failure, exit_text, received_text
from launcher.plan.ready import not_ready_because, silent_because
from launcher.plan.spec import ProcessSpec, Role
from launcher.supervisor.rules.actions import (
    Action,
    Answer,
    Await,
    Diagnose,
    Drain,
    EndOne,
    KillOne,
    Start,
    StartAgain,
)
from launcher.supervisor.rules.events import (
    CannotContinue,
    DrainTimedOut,
    Event,
    Exited,
    GraceOver,
    GuardDied,
    NotReady,
    NotStarted,
    OneOverdue,
    Quiet,
    RankExited,
    RanksGone,
    Ready,
    RestartAsked,
    Signalled,
    Silent,
    Stalled,
    Started,
    SuspectsOverdue,
)
from launcher.supervisor.rules.lifecycle import Lifecycle, State
from launcher.supervisor.rules.roster import Replacements
from launcher.supervisor.rules.suspicion import Suspect, Suspicion

SUSPECT_SECONDS = 5.0  # a server that seems to be dying has this long to end; after that its client is the culprit
TERMINATED = (-signal.SIGTERM, 128 + signal.SIGTERM)  # ended by SIGTERM, or exited because of it


@dataclass
class Policy(Lifecycle):
    """The rules by which a run ends.

    The run ends when all components that FINISH have exited 0, when one of them exits with another code, or when one
    that SERVES exits at all. The first of these is the culprit. Everything that ends after it is collateral.
    """

    signals_reach_all: bool = False  # as Slurm does: SIGTERM goes to every process, and perhaps twice to us
    told: dict[int, Failure] = field(default_factory=dict)  # by node: the failures that other nodes found
    _replaced: Replacements = field(default_factory=Replacements)
    _held: Suspicion | None = None  # a failure that is held back until it is clear which component is the culprit

    def begin(self) -> list[Action]:
        """The first actions of a run."""
        return self._start_next()

    def _start_next(self) -> list[Action]:
        """Start the next component whose `after` are all usable. One start at a time."""
        if self.state is not State.RUNNING or self._held or self._starting:
            return []
        found = self._next_to_start()
        return [Start(found.name)] if found else []

    def on(self, event: Event) -> list[Action]:
        """Record the event and return the actions that follow."""
        return [*self._decide(event), *self._start_next()]

    def _decide(self, event: Event) -> list[Action]:
        if self.state is State.RESTARTING and (actions := self._between_attempts(event)) is not None:
            return actions
        match event:
            case Started(component):
                self._on_start(component)
                return self._when_over()
            case Ready(component):
                self._on_ready(component)
            case NotStarted(component, reason):
                self._starting.discard(component)
                return self._fail(Culprit(component, f"could not be started: {reason}")) or self._when_over()
            case Exited(component, code, suspects):
                return [*self._settle_unless_suspected(component), *self._on_exit(component, code, suspects)]
            case SuspectsOverdue():
                return self._settle()
            case RankExited(ended_by="launch"):
                return []
            case RankExited(component, _, code, signal.Signals() as got) if code:
                return self._fail(Culprit(component, received_text(got)))
            case RankExited(_, _, code) if code in TERMINATED:
                return []  # torchrun does this to its other ranks when one fails, and names that one itself
            case RankExited(component, rank, code, _, suspects) if code and not self._restarts_ranks(component):
                return self._fail(Culprit(component, exit_text(code), rank, code), suspects)
            case RanksGone(component) if component in self._alive:
                return [KillOne(component)]
            case NotReady(component, check, timeout, answer):
                what = f"was not ready within {timeout:g}s: {not_ready_because(check, answer)}"
                return self._on_no_answer(component, what)
            case Silent(component, check, seconds, answer):
                return self._on_no_answer(component, silent_because(check, seconds, answer))
            case DrainTimedOut(seconds):
                late = ", ".join(sorted(self._unfinished()))
                return self._fail(Culprit(late, f"did not finish within {seconds:g}s of the others"))
            case Signalled():
                return self._on_signal(event)
            case RestartAsked():
                return self._on_restart_asked(event)
            case GuardDied():
                return self._on_guard_death()
            case Quiet(component, seconds):
                return self._on_quiet(component, seconds)
            case Stalled(component, seconds, diagnosis):
                return self._fail(self._stalled(component, seconds, diagnosis))
            case CannotContinue(why):
                return self._give_up(why)
            case OneOverdue(component) if component in self._replaced:
                return self._on_one_overdue(component)
            case GraceOver() if self._is_ending():
                return [self._kill()]
        return []

    # --- rules ---

    def _on_exit(self, component: str, code: int, suspects: tuple[Suspect, ...]) -> list[Action]:
        self._alive.discard(component)
        self.exits[component] = code
        if self.state is State.RESTARTING and self._role(component) is Role.FINISHES:
            self.collateral.append(component)
            return self._when_attempt_is_over()
        if self._is_ending():
            self.collateral.append(component)
            return self._when_empty()
        if self._role(component) is Role.SERVES:
            return self._on_server_exit(self._spec(component), code)
        actions = self._fail(Culprit(component, exit_text(code), exit_code=code), suspects) if code else []
        if self._held:
            self.collateral.append(component)
            return actions
        return actions if code else self._when_one_has_finished()

    def _when_one_has_finished(self) -> list[Action]:
        if self._unfinished():
            return [Drain(self.plan.drain_timeout)]
        return self._stop(State.FINISHED, "the run has finished")

    def _on_server_exit(self, spec: ProcessSpec, code: int) -> list[Action]:
        replaced = self._replaced.ended(spec.name)
        if replaced and replaced.by_hand and not self._held:
            return [self._start_by_hand(spec, replaced.why)]
        if replaced is None and spec.may_exit and code == 0:
            self._usable.add(spec.name)
            return []
        what = exit_text(code) if code else "ended (exit code 0) while the run still needed it"
        return self._on_server_failure(spec, replaced.why if replaced else what, code)

    def _on_no_answer(self, component: str, what: str) -> list[Action]:
        if self._is_ending() or component in self._replaced:
            return []
        return self._on_server_failure(self._spec(component), what)

    def _on_server_failure(self, spec: ProcessSpec, what: str, code: int | None = None) -> list[Action]:
        """Restart the server if it has restarts left, else the run fails. A client's death restarts the attempt too."""
        if self._held and (suspect := self._held.against(spec.name)):
            what = "; ".join(filter(None, (what, self._held.explain(suspect))))
        culprit = Culprit(spec.name, what, exit_code=code)
        if not self._may_start_again(spec) or (self._held and not self.restarts):
            return self._fail(culprit)
        again = self._start_again(spec, what)
        if not self._held:
            return [again]
        self.culprit = culprit
        return [again, *self._restart(culprit.text)]

    def _start_again(self, spec: ProcessSpec, what: str) -> Action:
        """A server that is alive but does not answer is ended first."""
        if spec.name in self._alive:
            self._replaced.begin(spec.name, what)
            return EndOne(spec.name, what)
        return StartAgain(spec.name, what, self._count_start(spec))

    def _on_restart_asked(self, event: RestartAsked) -> list[Action]:
        refusal = self._why_not_restarted(event.component)
        if refusal:
            return [Answer(event.request, refusal)]
        spec, why = self._spec(event.component), f"restart asked for by {event.by}"
        if spec.name not in self._alive:  # it may exit, and has
            return [Answer(event.request), self._start_by_hand(spec, why)]
        self._replaced.begin(spec.name, why, by_hand=True)
        return [Answer(event.request), EndOne(spec.name, why)]

    def _why_not_restarted(self, component: str) -> str | None:
        if self.state is not State.RUNNING:
            return "the run is between two attempts" if self.state is State.RESTARTING else "the run is ending"
        if component in self._replaced:
            return "it is being restarted already"
        if self._held:
            return "something has failed, and launch is finding out whose fault it is"
        return self._never_restarted(component)

    def _start_by_hand(self, spec: ProcessSpec, why: str) -> Action:
        self._start_anew(spec)
        return StartAgain(spec.name, why)

    def _on_signal(self, event: Signalled) -> list[Action]:
        number = event.signal
        if number is signal.SIGTERM and self.signals_reach_all and self._is_ending():
            self._reconsider(event)
            return []
        if self._is_ending():
            return [] if number is signal.SIGUSR1 else [self._kill()]
        if self._held and not (number is signal.SIGTERM and self.signals_reach_all):
            self.restarts = 0
            actions = self._settle()
            self.is_used_up = False  # there was one left
            return [*actions, *([self._kill()] if number is signal.SIGQUIT else [])]
        self.ended_by, self.stopped_by = number, event.stopped_by
        if number is signal.SIGQUIT:
            self.state = State.STOPPED
            return [self._kill(), *self._when_empty()]
        return self._stop(State.STOPPED, event.text)

    def _on_one_overdue(self, component: str) -> list[Action]:
        if self._is_ending():
            return []
        if self._replaced.is_killed(component):
            return self._give_up(f"{component} cannot be killed, so it cannot be started again")
        return [KillOne(component)]

    def _reconsider(self, event: Signalled) -> None:
        """The SIGTERM that ended the culprit was meant for the whole run, and reached us later than the culprit."""
        if self.state is State.FAILED and self.culprit and _was_terminated(self.culprit):
            self.state, self.culprit, self.ended_by = State.STOPPED, None, signal.SIGTERM
            self.stopped_by = event.stopped_by

    def _on_quiet(self, component: str, seconds: float) -> list[Action]:
        return [Diagnose(component, seconds)] if self.state is State.RUNNING else []

    def _on_guard_death(self) -> list[Action]:
        if not self._is_ending():
            decided = self._overrule("launch's guard process was killed")
            self.culprit = Culprit("launch", "its guard process was killed")
            self.state = State.FAILED
            return [*decided, self._kill(), *self._when_empty()]
        return [self._kill()]

    def _fail(self, culprit: Culprit, suspects: tuple[Suspect, ...] = ()) -> list[Action]:
        if not self._counts(culprit):
            return []
        dying = tuple(suspect for suspect in suspects if suspect.component in self._alive)
        if dying and not self._held:
            self._held = Suspicion(culprit, dying)
            return [Await(dying, SUSPECT_SECONDS)]
        reason, self._held = self._named(culprit).text, None
        decided, self.culprit = self._overrule(reason), culprit
        if self.restarts > 0 and not self._is_served_by(culprit.component):
            return self._restart(reason)
        self.is_used_up = not self.restarts and self._has_to_finish(culprit.component)
        return [*decided, *self._stop(State.FAILED, reason)]

    def _restart(self, reason: str) -> list[Action]:
        self._held = None
        return super()._restart(reason)

    def _counts(self, culprit: Culprit) -> bool:
        """Whether a failure can still change how the run ends."""
        if self._is_ending():
            return False
        if self._held:
            return self._held.against(culprit.component) is not None
        return self.state is State.RUNNING or self._is_served_by(culprit.component)

    def _settle(self) -> list[Action]:
        """Stop waiting for suspects. A suspect that has certainly failed is the culprit, else the first failure is."""
        held = self._held
        if held is None or self._is_ending():
            return []
        for suspect in held.suspects:
            if suspect.is_certain and suspect.component in self._alive:
                return self._on_server_failure(self._spec(suspect.component), "")
        self._held = None
        return self._fail(held.culprit)

    def _settle_unless_suspected(self, component: str) -> list[Action]:
        """Stop waiting for suspects when a server that is not suspected ends: the client's end may have caused it."""
        is_news = self._held and self._is_served_by(component) and not self._held.against(component)
        return self._settle() if is_news else []


def _was_terminated(culprit: Culprit) -> bool:
    return culprit.exit_code in TERMINATED or culprit.what == received_text(signal.SIGTERM)
