"""The supervisor's settings beside its plan."""

from collections.abc import Callable
from dataclasses import dataclass

from launcher.failure.failure import Failure
from launcher.failure.verdict import Setback
from launcher.nodes.peers import Links
from launcher.plan.spec import Plan
from launcher.processes.guard_fork import Guard
from launcher.supervisor.looks import Diagnose, Take
from launcher.supervisor.rules.policy import Policy


@dataclass(frozen=True)
class Conduct:
    """What the session gives to the supervisor of a run."""

    guard: Guard | None = None
    signals_reach_all: bool = False  # a job ends: each process or node may get the signal, and late
    stop_on_hangup: bool = False
    backoff: float = 0.0  # seconds before the first restart
    next_attempt: Callable[[Policy], Plan] | None = None  # makes the next attempt's plan; needed for restarts
    setback: Callable[[Failure | None], Setback] | None = None  # how an attempt failed; needed for restarts
    watchdog: float | None = None  # seconds that a run may be silent
    look: Take | None = None  # finds out what the processes are doing
    diagnose: Diagnose | None = None  # and why they have stalled
    links: Links | None = None  # to the other nodes
    explain: Callable[[Policy], Failure | None] | None = None  # the failure, when nothing of the attempt is alive
