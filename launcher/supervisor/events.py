"""What happens in a run, as the supervisor tells whoever listens."""

import signal
from dataclasses import dataclass

from launcher.failure.failure import Diagnosis, exit_text
from launcher.nodes.messages import Lost, Reported
from launcher.plan.spec import Plan
from launcher.processes.sender import Sender, sender_text
from launcher.runs.state import Ender
from launcher.supervisor.suspicion import Suspect

"""Who has ended a process that did not end by itself."""


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
    """The time that the component had to become ready is over."""

    component: str
    check: str  # see launcher.plan.ready
    timeout: float  # seconds
    answer: str  # what the last try met with, see launcher.supervisor.readiness


@dataclass(frozen=True)
class Silent:
    """A server that was ready does not answer any more."""

    component: str
    check: str  # see launcher.plan.ready
    seconds: float  # that it was asked in vain
    answer: str  # what the last try met with, see launcher.supervisor.readiness


@dataclass(frozen=True)
class RankStarted:
    component: str
    rank: int  # local rank
    pid: int


@dataclass(frozen=True)
class RankExited:
    component: str
    rank: int
    exit_code: int | None  # negative: the signal; None: nobody knows
    torchrun_got: signal.Signals | None = None  # the signal that torchrun was sent, and has passed on
    suspects: tuple[Suspect, ...] = ()  # servers that were dying then
    ended_by: Ender | None = None


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
        """What is to be said of a run that it has ended."""
        return f"stopped by {sender_text(self.signal, self.sender)}" if self.sender else None


@dataclass(frozen=True)
class HungUp:
    """The terminal has gone away, and the run goes on without it."""


@dataclass(frozen=True)
class Heartbeat:
    """The supervisor is alive, which nobody on another host could tell otherwise."""


@dataclass(frozen=True)
class GuardDied:
    pass


@dataclass(frozen=True)
class WatcherDied:
    """The process between guard and supervisor is gone; these two still watch each other."""


@dataclass(frozen=True)
class DrainTimedOut:
    """What should have finished soon after the other components has not."""

    seconds: float


@dataclass(frozen=True)
class Quiet:
    """On this node nothing has been logged, and no step made, for as long as may be."""

    component: str  # of which; empty for the whole run
    seconds: float


@dataclass(frozen=True)
class Moving:
    """What was quiet on this node is not any more."""

    component: str  # as in Quiet


@dataclass(frozen=True)
class Stalled:
    """What was quiet on all nodes has been looked at."""

    component: str  # as in Quiet
    seconds: float
    diagnosis: Diagnosis


@dataclass(frozen=True)
class Diagnosed:
    """This node's processes have been looked at, because another node has found that the run stands still."""

    diagnosis: Diagnosis


@dataclass(frozen=True)
class NewAttempt:
    """The plan of the next attempt has taken the place of the last one; servers and services live on."""

    plan: Plan


@dataclass(frozen=True)
class CannotContinue:
    """The run has to end for a reason that is not one of its processes'."""

    why: str


@dataclass(frozen=True)
class GraceOver:
    pass


@dataclass(frozen=True)
class OneOverdue:
    """A component that was ended alone still lives after the grace, or after it was killed."""

    component: str


@dataclass(frozen=True)
class NodesOverdue:
    """Other nodes have not said that they have ended, and are not waited for any more."""


Event = (
    Started
    | NotStarted
    | Ready
    | NotReady
    | Silent
    | RankStarted
    | RankExited
    | Exited
    | SuspectsOverdue
    | Signalled
    | HungUp
    | Heartbeat
    | GuardDied
    | WatcherDied
    | DrainTimedOut
    | Quiet
    | Moving
    | Stalled
    | Diagnosed
    | NewAttempt
    | CannotContinue
    | GraceOver
    | OneOverdue
    | Reported
    | Lost
    | NodesOverdue
)


def ending_text(exit_code: int | None, ended_by: str | None) -> str:
    """ "exit code 3", "SIGSEGV", or who has ended it with the code behind: "ended by launch (SIGTERM)"."""
    if ended_by is None:
        return exit_text(exit_code)
    return f"ended by {ended_by}" + ("" if exit_code is None else f" ({exit_text(exit_code)})")
