"""Which process made a run fail, and what is known about it."""

import signal
from dataclasses import dataclass

from launcher.borders.values import AbsolutePath, Count, ExitCode, Host, Phrase, Text

STALLED = "nothing has been logged and no step made"  # how a hang is told


@dataclass(frozen=True)
class Culprit:
    """The process whose end made the run fail."""

    component: Phrase
    what: Phrase
    rank: Count | None = None  # local rank; for a culprit on another node the global rank
    exit_code: ExitCode | None = None
    node: Count | None = None  # set if it was on another node
    words: Text = ""  # an explanation that is in no log of the culprit
    file: AbsolutePath | None = None  # the file to open, if it is not the culprit's log

    @property
    def text(self) -> str:
        rank = "" if self.rank is None else f" rank {self.rank}"
        node = "" if self.node is None or self.component == f"node {self.node}" else f" on node {self.node}"
        return f"{self.component}{rank}{node}: {self.what}"


@dataclass(frozen=True)
class Diagnosis:
    """What the processes were doing when the watchdog found a hang."""

    rank: int | None = None  # the straggler, if there is exactly one: its local rank, on another node the global one
    lines: tuple[str, ...] = ()
    file: AbsolutePath | None = None  # the stacks of all processes
    node: int | None = None  # the straggler's, if it is another one


@dataclass(frozen=True)
class Failure:
    component: Phrase
    rank: Count | None  # global rank
    what: Phrase  # exit code or signal, or the rule that was broken
    cause: Text  # the traceback, or the last lines of the log; may have many lines
    log: AbsolutePath | None  # the file to open
    collateral: tuple[Phrase, ...]
    node: Count | None = None  # set in a run on several nodes
    host: Host | None = None


def exit_text(exit_code: int | None) -> str:
    """ "exit code 3", or the signal's name."""
    if exit_code is None:
        return "unknown exit code"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def ending_text(exit_code: int | None, ended_by: str | None) -> str:
    """For example "exit code 3", "SIGSEGV" or "ended by launch (SIGTERM)"."""
    if ended_by is None:
        return exit_text(exit_code)
    return f"ended by {ended_by}" + ("" if exit_code is None else f" ({exit_text(exit_code)})")


def received_text(number: signal.Signals) -> str:
    return f"torchrun received {number.name}"
