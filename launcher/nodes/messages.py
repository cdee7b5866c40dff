"""What the launches of a run's nodes tell each other, and the events that come of it."""

from dataclasses import dataclass
from typing import Literal

from launcher.borders.values import EndingSignal, Phrase, Seconds
from launcher.failure.failure import Culprit, Failure

NodeState = Literal["running", "restarting", "finished", "failed", "stopped"]


@dataclass(frozen=True)
class Report:
    """How far a node is; each one takes the place of the one before it."""

    state: NodeState
    signal: EndingSignal | None = None  # that ended the run
    stopped_by: Phrase | None = None  # and who sent it
    culprit: Culprit | None = None
    done: bool = False  # what finishes there has exited with 0
    kill: bool = False  # what is left is to be killed, without waiting for the grace
    ended: bool = False  # nothing of the run is left there
    failure: Failure | None = None
    quiet: tuple[tuple[Phrase, Seconds], ...] = ()  # what has been quiet there for so many seconds; "" is all of it


@dataclass(frozen=True)
class Reported:
    """Another node has told how far it is."""

    node: int
    report: Report


@dataclass(frozen=True)
class Lost:
    """The launch of another node is gone, or cannot be reached."""

    node: int
    why: str
