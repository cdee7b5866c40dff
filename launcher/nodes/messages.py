"""The messages between the nodes' launches during a run, and the events made from them."""

from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict, TypeAdapter

from launcher.borders.values import Attempt, Count, EndingSignal, Phrase, Seconds
from launcher.failure.failure import Culprit, Failure
from launcher.failure.verdict import Verdict

NodeState = Literal["running", "restarting", "finished", "failed", "stopped"]
LookAt = Literal["all", "collectives"]
"""What is looked at: stacks and collectives, or the collectives alone, which take milliseconds."""


@dataclass(frozen=True)
class Report:
    """A node's state. Each report replaces the one before it."""

    __pydantic_config__ = ConfigDict(defer_build=True)
    state: NodeState
    signal: EndingSignal | None = None  # the signal that ended the run
    stopped_by: Phrase | None = None  # and its sender
    culprit: Culprit | None = None
    done: bool = False  # every component that finishes there has exited 0
    kill: bool = False  # kill at once, without waiting for the grace
    ended: bool = False  # no process of the run is alive there
    failure: Failure | None = None
    attempt: Attempt = 1  # which attempt is meant by `culprit`, `done` and `over`
    over: bool = False  # restarting: nothing of the attempt that has failed is alive there
    verdict: Verdict | None = None  # restarting, failed: what node 0 has decided
    places: tuple[Count, ...] = ()  # the node in each place, if node 0 has given a place to another one
    lost: tuple[Count, ...] = ()  # restarting, failed: nodes of the trainer that node 0 has lost in this attempt
    quiet: tuple[tuple[Phrase, Seconds], ...] = ()  # quiet component ("" for the whole run), and for how long


REPORT = TypeAdapter(Report)


@dataclass(frozen=True)
class Reported:
    """Another node has sent its state."""

    node: int
    report: Report


@dataclass(frozen=True)
class Lost:
    """The launch of another node is gone, or cannot be reached."""

    node: int
    why: str


@dataclass(frozen=True)
class LookAsked:
    """What are your processes doing? With `everywhere`, node 0 answers for all nodes but the one that asks."""

    __pydantic_config__ = ConfigDict(defer_build=True)
    number: Count  # of the question, in the answer as well
    at: LookAt
    everywhere: bool = False
    keep: bool = False  # the run has stalled: write it down there too


@dataclass(frozen=True)
class LookPart:
    """A part of the answer, which may be longer than a line: see launcher.stacks.looks."""

    __pydantic_config__ = ConfigDict(defer_build=True)
    number: Count
    node: Count
    part: Count  # from 0
    parts: Count
    text: str
    asked: float = 0.0  # when the node was asked, by its own clock; 0 if node 0 passes the answer on
    sent: float = 0.0  # and when it sent this
