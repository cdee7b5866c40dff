"""What the live view knows of a run: it hears the supervisor's events, and is given steps, log lines and usage."""

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.borders.values import is_number
from launcher.numbers import mean
from launcher.plan.spec import Plan, ProcessSpec
from launcher.runs.inspection import ComponentStatus
from launcher.runs.waits import Wait
from launcher.supervisor.rules.actions import Action, Decided, Stop, StopAttempt
from launcher.supervisor.rules.events import (
    Event,
    Exited,
    NewAttempt,
    NotStarted,
    RankExited,
    RankStarted,
    Ready,
    Started,
)
from launcher.view.metric_curves import EVALUATION, FirstAndLast
from launcher.view.pace import Pace

MOST_VALUES = 2048  # of the curve; of a longer one, neighbours are averaged
MOST_NEWS = 3


@dataclass
class Component:
    """A component as it is now. Times are of the monotonic clock."""

    name: str
    ranks: int
    gpus: tuple[str, ...]
    after: tuple[str, ...]  # components that it waits for before its start
    has_ready_check: bool
    pid: int | None = None
    since: float = 0.0  # when its present state began
    is_ready: bool = False
    started_ranks: set[int] = field(default_factory=set)
    ended_ranks: set[int] = field(default_factory=set)
    exit_code: int | None = None
    ended_by: str | None = None
    has_ended: bool = False
    trouble: str = ""

    @classmethod
    def of(cls, spec: ProcessSpec, now: float) -> "Component":
        ranks = spec.ranks.count if spec.ranks else 0
        return cls(spec.name, ranks, spec.gpus, spec.after, spec.ready is not None, since=now)

    @property
    def is_up(self) -> bool:
        """Whether those that wait for it can start."""
        return self.pid is not None and (self.is_ready or not self.has_ready_check)


class LiveRun:
    """The state of one run, for a view."""

    def __init__(self, plan: Plan) -> None:
        self.began = time.monotonic()
        self.news: deque[tuple[str, str | None]] = deque(maxlen=MOST_NEWS)  # warnings and errors, in colour
        self.is_stopping = self.is_ending = False  # an attempt, or the run
        self.next_begins: float | None = None  # the next attempt, once it is decided that there is one
        self.usage: Mapping[str, ComponentStatus] = {}
        self.waits: Mapping[str, Wait] = {}
        self._begin(plan)

    @property
    def has_begun(self) -> bool:
        """Whether it has made a step or, where none will be seen, everything is up."""
        sees_steps = self.plan.own_checkpoints or any(spec.progress for spec in self.plan.processes)
        everything = all(its.is_up and len(its.started_ranks) == its.ranks for its in self.components.values())
        return self.step is not None or (everything and not sees_steps)

    def _begin(self, plan: Plan) -> None:
        now = time.monotonic()
        self.plan = plan
        self.components = {spec.name: Component.of(spec, now) for spec in plan.processes}
        self.step: int | None = None
        self.values: list[float] = []  # of the main metric, the oldest first
        self.newest: float | None = None
        self._steps_of_a_value, self._pending = 1, list[float]()
        self.evaluations: dict[str, FirstAndLast] = {}
        self.pace = Pace()

    # --- what has happened ---

    def hear(self, event: Event | Action) -> None:
        now = time.monotonic()
        match event:
            case Stop() | StopAttempt():
                self.is_stopping, self.next_begins = True, None
                self.is_ending = self.is_ending or isinstance(event, Stop)
            case Decided(verdict) if verdict.again:
                self.next_begins = now + verdict.seconds
            case NewAttempt(plan):
                lasting = self.components
                self.is_stopping, self.next_begins = False, None
                self._begin(plan)
                for name, spec in ((name, plan.process(name)) for name in self.components):
                    if spec and name in lasting and not lasting[name].has_ended and lasting[name].pid:
                        self.components[name] = lasting[name]
            case Started(name, pid):
                its = self.components[name] = self._anew(name, now)
                its.pid = pid
            case NotStarted(name, reason):
                self.components[name].trouble = f"could not be started: {reason}"
            case Ready(name, _):
                self.components[name].is_ready, self.components[name].since = True, now
            case RankStarted(name, rank, _):
                its = self.components[name]
                its.started_ranks.add(rank)
                its.ended_ranks.discard(rank)
                if len(its.started_ranks) == its.ranks:
                    its.since = now
            case RankExited(name, rank, _):
                self.components[name].ended_ranks.add(rank)
            case Exited(name, exit_code):
                its = self.components[name]
                its.has_ended, its.exit_code, its.ended_by, its.since = True, exit_code, event.ended_by, now

    def _anew(self, name: str, now: float) -> Component:
        spec = self.plan.process(name)
        return Component.of(spec, now) if spec else self.components[name]

    # --- what was logged ---

    def add_steps(self, steps: Sequence[Mapping[str, Any]]) -> None:
        for step in steps:
            if is_number(value := step.get(self.plan.progress.metric)):
                self._add_value(float(value))
            for name in filter(EVALUATION.fullmatch, step):
                if is_number(step[name]):
                    reading = (step["step"], float(step[name]))
                    self.evaluations[name] = (self.evaluations.get(name, (reading,))[0], reading)
        if steps:
            self.step = int(steps[-1]["step"])
            self.pace.add(self.step)

    def _add_value(self, value: float) -> None:
        self.newest = value
        self._pending.append(value)
        if len(self._pending) < self._steps_of_a_value:
            return
        self.values.append(mean(self._pending))
        self._pending = []
        if len(self.values) >= MOST_VALUES:
            self.values = [mean(self.values[place : place + 2]) for place in range(0, len(self.values), 2)]
            self._steps_of_a_value *= 2

    def measured(self, components: Iterable[ComponentStatus], waits: Iterable[Wait]) -> None:
        """What was found out about the processes, and what they say that they wait for."""
        self.usage = {component.name: component for component in components}
        self.waits = {wait.component: wait for wait in reversed(list(waits))}  # the longest wait of each
