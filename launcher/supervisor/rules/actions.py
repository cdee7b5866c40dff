"""What a policy can ask of the supervisor. Fields with `compare=False` are only shown to people."""

from collections.abc import Callable
from dataclasses import dataclass, field

from launcher.failure.verdict import Verdict
from launcher.supervisor.rules.events import Event
from launcher.supervisor.rules.suspicion import Suspect


@dataclass(frozen=True)
class Start:
    """Start a component that has not been started in this attempt."""

    component: str


@dataclass(frozen=True)
class Stop:
    """Ask every component to end. Kill those that are still alive after the grace."""

    reason: str
    grace: float = field(default=0.0, compare=False)  # seconds


@dataclass(frozen=True)
class StopAttempt:
    """Ask the components that finish to end, and kill them after the grace. Servers and services keep running."""

    reason: str


@dataclass(frozen=True)
class KillAttempt:
    """Kill the components that finish."""


@dataclass(frozen=True)
class Explain:
    """The attempt has ended: find out how it failed."""


@dataclass(frozen=True)
class Decided:
    """What comes after the attempt that has failed: another one, after the verdict's pause, or none."""

    verdict: Verdict


@dataclass(frozen=True)
class StartAttempt:
    """Start the components that finish again, as the next attempt."""


@dataclass(frozen=True)
class StartAgain:
    """Restart one component that serves. Everything else keeps running."""

    component: str
    what: str  # how it ended
    left: int | None = None  # restarts it has left; None: somebody asked for this one, and it does not count


@dataclass(frozen=True)
class Answer:
    """Answer a request of somebody outside."""

    request: int
    refusal: str | None = None  # None: it is done


@dataclass(frozen=True)
class EndOne:
    """Ask one component that serves to end, and kill it after the grace. Everything else keeps running."""

    component: str
    why: str


@dataclass(frozen=True)
class KillOne:
    """Kill a component that did not end in time, or has nothing to end in order. Others may keep running."""

    component: str


@dataclass(frozen=True)
class Kill:
    """Kill everything at once."""

    components: tuple[str, ...] = field(default=(), compare=False)  # those alive


@dataclass(frozen=True)
class Await:
    """Wait a few seconds for servers that seem to be dying."""

    suspects: tuple[Suspect, ...]
    seconds: float


@dataclass(frozen=True)
class Drain:
    """Give the last components time to finish."""

    seconds: float


@dataclass(frozen=True)
class Diagnose:
    """Find out what the processes are doing: the run, or one component, has been silent for too long."""

    component: str  # empty for the whole run
    seconds: float


@dataclass(frozen=True)
class End:
    """No process of the run is alive any more."""


@dataclass(frozen=True)
class AwaitNodes:
    """No process is alive on this node. Give the other nodes the grace to end theirs."""


Action = (
    Answer
    | Await
    | AwaitNodes
    | Decided
    | Diagnose
    | Explain
    | Stop
    | StopAttempt
    | KillAttempt
    | Start
    | StartAttempt
    | StartAgain
    | EndOne
    | Kill
    | KillOne
    | Drain
    | End
)
Listener = Callable[[Event | Action], None]
"""Hears everything: first the event, then each action that follows from it, once it is carried out."""
