"""The components of a run by what they are doing: waiting, starting, alive, usable. No process is touched here."""

from collections import Counter
from dataclasses import dataclass, field

from launcher.failure.failure import STALLED, Culprit, Diagnosis
from launcher.plan.spec import Plan, ProcessSpec, Role


@dataclass
class Replacement:
    """Why a server was told to end so that it can be started again."""

    why: str
    by_hand: bool  # whether somebody asked for it
    is_killed: bool = False  # after its grace


@dataclass
class Replacements:
    """The servers that were told to end so that they can be started again."""

    _found: dict[str, Replacement] = field(default_factory=dict)

    def __contains__(self, component: str) -> bool:
        return component in self._found

    def begin(self, component: str, why: str, by_hand: bool = False) -> None:
        self._found[component] = Replacement(why, by_hand)

    def ended(self, component: str) -> Replacement | None:
        """It has ended, and is forgotten. None if it was not told to."""
        return self._found.pop(component, None)

    def is_killed(self, component: str) -> bool:
        """Whether it was killed already; from now on it was."""
        found = self._found[component]
        was_killed, found.is_killed = found.is_killed, True
        return was_killed


@dataclass
class Roster:
    """What a policy knows of its components."""

    plan: Plan
    _alive: set[str] = field(default_factory=set)
    _waiting: set[str] = field(default_factory=set)  # not started yet
    _usable: set[str] = field(default_factory=set)  # ready, or started when they have no readiness check
    _started_again: Counter[str] = field(default_factory=Counter)
    _proven: set[str] = field(default_factory=set)  # were ready once; others would only fail again after a restart
    _starting: set[str] = field(default_factory=set)  # being started: no event has said yet how that went

    def __post_init__(self) -> None:
        self._waiting |= {spec.name for spec in self.plan.processes}

    def _next_to_start(self) -> ProcessSpec | None:
        """The next component whose `after` are all usable; from now on it is starting."""
        waiting = (spec for spec in self.plan.processes if spec.name in self._waiting)
        found = next((spec for spec in waiting if self._usable.issuperset(spec.after)), None)
        if found:
            self._starting.add(found.name)
            self._waiting.discard(found.name)
        return found

    def _on_start(self, component: str) -> None:
        self._alive.add(component)
        self._starting.discard(component)
        if self._spec(component).ready is None:
            self._usable.add(component)

    def _on_ready(self, component: str) -> None:
        self._usable.add(component)
        self._proven.add(component)

    def _begin_again(self, plan: Plan) -> None:
        """The components that finish wait for their start in the next attempt."""
        self.plan = plan
        finishing = {spec.name for spec in plan.processes if spec.role is Role.FINISHES}
        self._waiting |= finishing
        self._usable -= finishing

    def _count_start(self, spec: ProcessSpec) -> int:
        """The component is started again. Returns how many more times it may be."""
        self._started_again[spec.name] += 1
        self._start_anew(spec)
        return self._starts_left(spec)

    def _start_anew(self, spec: ProcessSpec) -> None:
        self._usable.discard(spec.name)
        self._starting.add(spec.name)

    # --- questions ---

    def _finishing(self) -> set[str]:
        return {name for name in self._alive if self._role(name) is Role.FINISHES}

    def _unfinished(self) -> set[str]:
        """The components that have yet to finish: running ones, and ones that are not started yet."""
        unstarted = self._waiting | self._starting
        return self._finishing() | {name for name in unstarted if self._role(name) is Role.FINISHES}

    def _stalled(self, component: str, seconds: float, diagnosis: Diagnosis) -> Culprit:
        """Who has made no progress, by the watchdog's finding; `component` is "" when it was the run as a whole."""
        name = component or self._silent(diagnosis.rank)
        spec = self.plan.process(name)
        rank, node = (diagnosis.rank, diagnosis.node) if spec and spec.ranks else (None, None)
        words, what = "\n".join(diagnosis.lines), f"{STALLED} for {seconds:g}s"
        return Culprit(name, what, rank, node=node, words=words, file=diagnosis.file)

    def _silent(self, rank: int | None) -> str:
        """The component to blame for silence: the one with ranks, the only one that finishes, or else "launch"."""
        with_ranks = [spec.name for spec in self.plan.processes if spec.ranks is not None]
        if rank is not None and with_ranks:
            return with_ranks[0]
        finishing = [spec.name for spec in self.plan.processes if spec.role is Role.FINISHES]
        return finishing[0] if len(finishing) == 1 else "launch"

    def _never_restarted(self, component: str) -> str | None:
        """Why a component cannot be restarted alone, or cannot yet; None if it can."""
        spec = self.plan.process(component)
        if spec is None or spec.role is Role.FINISHES:
            serving = [each.name for each in self.plan.processes if each.role is Role.SERVES]
            instead = f"can be restarted: {', '.join(serving) or 'nothing of this run'}"
            if spec is None:
                return f"there is no such component; {instead}"
            return f"the run lasts as long as it does (launch stop and launch resume start both again); {instead}"
        return "it has not been started yet" if component in self._waiting | self._starting else None

    def _is_served_by(self, component: str) -> bool:
        spec = self.plan.process(component)
        return spec is not None and spec.role is Role.SERVES

    def _has_to_finish(self, component: str) -> bool:
        spec = self.plan.process(component)
        return spec is not None and spec.role is Role.FINISHES

    def _may_start_again(self, spec: ProcessSpec) -> bool:
        return self._starts_left(spec) > 0 and (spec.ready is None or spec.name in self._proven)

    def _starts_left(self, spec: ProcessSpec) -> int:
        return spec.restarts - self._started_again[spec.name]

    def _spec(self, component: str) -> ProcessSpec:
        spec = self.plan.process(component)
        assert spec is not None
        return spec

    def _role(self, component: str) -> Role:
        return self._spec(component).role

    def _restarts_ranks(self, component: str) -> bool:
        spec = self._spec(component)
        return spec.ranks is not None and spec.ranks.restarts > 0
