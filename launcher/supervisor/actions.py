"""What a policy can ask of the supervisor. Some fields say no more than is shown to people, and are not compared."""

from collections.abc import Callable
from dataclasses import dataclass, field

from launcher.supervisor.events import Event
from launcher.supervisor.suspicion import Suspect


@dataclass(frozen=True)
class Start:
    """Start a component that has not been started in this attempt."""

    component: str


@dataclass(frozen=True)
class Stop:
    """Ask every component to end, and kill those that live after the grace."""

    reason: str
    grace: float = field(default=0.0, compare=False)  # seconds


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
class StartAgain:
    """Start one component that serves again; everything else goes on."""

    component: str
    what: str  # how it has ended
    left: int  # how many more times that may be


@dataclass(frozen=True)
class EndOne:
    """Ask one component that serves to end, and kill it after the grace; everything else goes on."""

    component: str
    why: str


@dataclass(frozen=True)
class KillOne:
    """Kill a component that was asked to end alone."""

    component: str


@dataclass(frozen=True)
class Kill:
    """Kill everything at once."""

    components: tuple[str, ...] = field(default=(), compare=False)  # that live


@dataclass(frozen=True)
class Await:
    """Give servers that seem to be dying so many seconds to end."""

    suspects: tuple[Suspect, ...]
    seconds: float


@dataclass(frozen=True)
class Drain:
    """Give the last component so many seconds to finish."""

    seconds: float


@dataclass(frozen=True)
class Diagnose:
    """Find out what the processes do: something of the run has been quiet for too long."""

    component: str  # empty for the whole run
    seconds: float


@dataclass(frozen=True)
class End:
    """Nothing of the run is left that could be waited for."""


@dataclass(frozen=True)
class AwaitNodes:
    """Nothing is left here; give the other nodes the grace to come to the same."""


Action = (
    Await
    | AwaitNodes
    | Diagnose
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
"""Is told everything: first what has happened, then each thing that is done about it."""
