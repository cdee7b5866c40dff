"""What happens in a run. The supervisor passes each event to its policy and its listeners."""

import signal
from dataclasses import dataclass

from launcher.failure.failure import Diagnosis, Failure
from launcher.failure.verdict import Setback
from launcher.nodes.messages import Lost, Reported
from launcher.plan.spec import Plan
from launcher.processes.sender import Sender, sender_text
from launcher.runs.state import Ender
from launcher.supervisor.rules.suspicion import Suspect


@dataclass(frozen=True)
class Started:
    component: str
    pid: int


@dataclass(frozen=True)
class NotStarted:
    """The process could not be created."""

    component: str
    reason: str


@dataclass(frozen=True)
class Ready:
    component: str
    after: float  # seconds since its start


@dataclass(frozen=True)
class NotReady:
    """The component was not ready within its timeout."""

    component: str
    check: str  # see launcher.plan.ready
    timeout: float  # seconds
    answer: str  # to the last try, see launcher.supervisor.readiness


@dataclass(frozen=True)
class Silent:
    """A server that was ready does not answer any more."""

    component: str
    check: str  # see launcher.plan.ready
    seconds: float  # without an answer
    answer: str  # to the last try, see launcher.supervisor.readiness


@dataclass(frozen=True)
class RankStarted:
    component: str
    rank: int  # local rank
    pid: int


@dataclass(frozen=True)
class RankExited:
    component: str
    rank: int
    exit_code: int | None  # negative: the signal; None: unknown
    torchrun_got: signal.Signals | None = None  # the signal that torchrun received, and passed on
    suspects: tuple[Suspect, ...] = ()  # servers that were dying then
    ended_by: Ender | None = None


@dataclass(frozen=True)
class RanksGone:
    """The ranks of a torchrun that was asked to end are gone, but a second later it is still alive."""

    component: str


@dataclass(frozen=True)
class Exited:
    component: str
    exit_code: int  # negative: the signal
    suspects: tuple[Suspect, ...] = ()  # servers that were dying then
    ended_by: Ender | None = None


@dataclass(frozen=True)
class SuspectsOverdue:
    """The suspects have not ended in time."""


@dataclass(frozen=True)
class Signalled:
    """Somebody sent a signal to launch itself."""

    signal: signal.Signals
    sender: Sender | None = None  # None: unknown

    @property
    def text(self) -> str:
        """The signal and who sent it."""
        if self.sender is None:
            return f"{self.signal.name} was received"
        by = sender_text(self.signal, self.sender)
        return f"{self.signal.name} from {by}" if self.sender.is_a_process else by

    @property
    def stopped_by(self) -> str | None:
        """Names the sender as the reason why the run ended."""
        return f"stopped by {sender_text(self.signal, self.sender)}" if self.sender else None


@dataclass(frozen=True)
class RestartAsked:
    """Somebody asks for the restart of a component that serves."""

    component: str
    request: int  # to be answered by this number
    by: str  # who asks: "pid 4711 (`launch restart`, uid 1001)"


@dataclass(frozen=True)
class HungUp:
    """The terminal is gone. The run continues without it."""


@dataclass(frozen=True)
class Heartbeat:
    """The supervisor is alive. Other hosts cannot see its process, so they rely on this."""


@dataclass(frozen=True)
class GuardDied:
    pass


@dataclass(frozen=True)
class WatcherDied:
    """The process between guard and supervisor is gone. The two still watch each other."""


@dataclass(frozen=True)
class DrainTimedOut:
    """A component has not finished within the drain time after the others."""

    seconds: float


@dataclass(frozen=True)
class Quiet:
    """On this node there was no log line and no step for the allowed time."""

    component: str  # empty for the whole run
    seconds: float


@dataclass(frozen=True)
class Moving:
    """A component that was quiet on this node is active again."""

    component: str  # as in Quiet


@dataclass(frozen=True)
class Stalled:
    """A component is quiet on all nodes, and its processes have been inspected."""

    component: str  # as in Quiet
    seconds: float
    diagnosis: Diagnosis


@dataclass(frozen=True)
class Diagnosed:
    """This node's processes have been inspected, because another node found that the run stalled."""

    diagnosis: Diagnosis


@dataclass(frozen=True)
class Explained:
    """How the attempt failed, when nothing of it is alive any more."""

    setback: Setback
    failure: Failure | None = None


@dataclass(frozen=True)
class PauseOver:
    """It is time for the next attempt."""


@dataclass(frozen=True)
class NewAttempt:
    """The next attempt has a plan, which replaces the last one. Servers and services keep running."""

    plan: Plan


@dataclass(frozen=True)
class CannotContinue:
    """The run has to end, and no process of it is the reason."""

    why: str


@dataclass(frozen=True)
class GraceOver:
    pass


@dataclass(frozen=True)
class OneOverdue:
    """A component is still alive although EndOne's grace is over, or although it was killed."""

    component: str


@dataclass(frozen=True)
class NodesOverdue:
    """Other nodes have not reported their end in time. They are not waited for any more."""


Event = (
    Started
    | NotStarted
    | Ready
    | NotReady
    | Silent
    | RankStarted
    | RankExited
    | RanksGone
    | Exited
    | SuspectsOverdue
    | Signalled
    | RestartAsked
    | HungUp
    | Heartbeat
    | GuardDied
    | WatcherDied
    | DrainTimedOut
    | Quiet
    | Moving
    | Stalled
    | Diagnosed
    | Explained
    | PauseOver
    | NewAttempt
    | CannotContinue
    | GraceOver
    | OneOverdue
    | Reported
    | Lost
    | NodesOverdue
)
