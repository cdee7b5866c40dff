"""Who ended a run that failed, and what is known of it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Culprit:
    """Whose ending ended the run."""

    component: str
    what: str
    rank: int | None = None  # local rank; the global one of a culprit on another node
    exit_code: int | None = None
    node: int | None = None  # set if it was on another node
    words: str = ""  # what is known of it that stands in no log of its own
    file: Path | None = None  # the file to open, where it is not a log of its own

    @property
    def text(self) -> str:
        rank = "" if self.rank is None else f" rank {self.rank}"
        node = "" if self.node is None or self.component == f"node {self.node}" else f" on node {self.node}"
        return f"{self.component}{rank}{node}: {self.what}"


@dataclass(frozen=True)
class Diagnosis:
    """What the processes did when something that should move had not for too long."""

    rank: int | None = None  # local rank, the one that the others wait for, if it is just one
    lines: tuple[str, ...] = ()
    file: Path | None = None  # the stacks of all processes


@dataclass(frozen=True)
class Failure:
    component: str
    rank: int | None  # the global one
    what: str  # exit code or signal, or the rule that was broken
    cause: str  # the traceback, or the last lines of the log; may have many lines
    log: Path | None  # the file to open
    collateral: tuple[str, ...]
    node: int | None = None  # of a run on several nodes, where it was
    host: str | None = None
