"""What a policy can ask of the supervisor."""

from dataclasses import dataclass

from launcher.supervisor.suspicion import Suspect


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
class Kill:
    """Kill everything at once."""


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
    | StartAttempt
    | StartAgain
    | EndOne
    | Kill
    | Drain
    | End
)
