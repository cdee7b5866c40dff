"""Whether a failed attempt is followed by another one, why, and after how long. Pure.

What will fail again in the same way is not tried again: the second equal failure of the user's code, without a step
made in between, is the last one. What comes from outside is tried again after a pause that grows.
"""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from launcher.borders.screen import in_one_line
from launcher.borders.values import Phrase, Seconds
from launcher.failure.failure import STALLED, Failure, exit_text
from launcher.numbers import duration

LONGEST_BACKOFF = 300.0  # seconds, unless the first pause is longer
LONG = 600.0  # seconds; an attempt of which no steps are known counts as progress if it took this long
SHOWN = 100  # characters of an error in a verdict

Kind = Literal[
    "own error",
    "native crash",
    "out of memory",
    "hang",
    "lost node",
    "network",
    "port taken",
    "full disk",
    "signal",
]
REPEATS = frozenset({"own error", "native crash", "out of memory", "hang"})  # fails again, unless a step is made
CRASHES = frozenset(exit_text(-number) for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE))
SIGNAL = re.compile(r"(?:torchrun received )?SIG[A-Z0-9]+|signal \d+|exit code (?:137|143)")  # a wrapper adds 128
WORDS: dict[Kind, re.Pattern[str]] = {
    "full disk": re.compile(
        r"^(?!.*(?:</torch_|/dev/shm)).*No space left on device|[Dd]isk quota exceeded"
        r"|^the disk of .* (?:is full|has no inodes)",
        re.M,
    ),
    "out of memory": re.compile(
        r"OutOfMemoryError|\bMemoryError\b|\b(?i:cuda|hip|xpu|mps)\b.*out of memory|^probably out of memory"
        r"|DefaultCPUAllocator: can't allocate|CUBLAS_STATUS_ALLOC_FAILED|Cannot allocate memory|out of shared memory"
        r"|^/dev/shm is full|(?:</torch_|/dev/shm).*No space left on device",
        re.M,
    ),
    "port taken": re.compile(r"EADDRINUSE|[Aa]ddress already in use"),
    "hang": re.compile(r"Watchdog caught collective operation timeout"),
    "network": re.compile(
        r"NCCL error|ncclSystemError|ncclRemoteError|ncclInternalError|DistBackendError|DistNetworkError|DistStoreError"
        r"|Connection (?:reset|refused|closed|aborted)|ConnectionResetError|BrokenPipeError|Broken pipe"
        r"|connectFullMesh|No route to host|Network is unreachable|Temporary failure in name resolution"
    ),
}
"""What the error of each kind says. The first that matches counts."""

MISUSE = re.compile(r"ncclInvalid(?:Usage|Argument)|NCCL error in: .*invalid (?:usage|argument)")  # not the network's
OWN = re.compile(
    r"(?:Value|Key|Type|Assertion|Index|Attribute|Name|UnboundLocal|Import|ModuleNotFound|ZeroDivision|NotImplemented"
    r"|Lookup|FileNotFound|Permission|Recursion|Syntax|Unicode\w*)Error(?::|$)",
    re.M,
)
"""Exceptions of the user's code, whatever their message mentions."""

TOLD = re.compile(
    r"^the disk of |^/dev/shm is full|^probably out of memory|Watchdog caught collective operation timeout"
    r"|^\s*(?:terminate called|what\(\):)"
)
"""Lines that are believed where there is no exception: the machine's facts, and how native code says its end."""

_FRAME = re.compile(r'^  File "(?P<file>.+)", line \d+(?:, in (?P<function>.*))?$', re.MULTILINE)
_NUMBER = re.compile(r"(exit code \d+)|0x[0-9a-fA-F]+|\b[0-9a-f]{8,}\b|\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True)
class Setback:
    """How one attempt failed."""

    kind: Kind
    who: str  # component and rank
    what: str  # shown: the exception, or how it ended
    likeness: tuple[str, ...]  # equal for failures that are the same but for their numbers
    step: int | None = None  # the newest step that had been made; None: unknown
    lasted: float = 0.0  # seconds, the attempt
    instead: str | None = None  # how the run continues without the lost node, if it can


@dataclass(frozen=True)
class Verdict:
    """What was decided after an attempt has failed."""

    kind: Kind
    again: bool  # whether there is another attempt
    why: Phrase
    seconds: Seconds = 0.0  # until it begins

    @property
    def text(self) -> str:
        """ "restarts in 30 s: …", "no restart: …"."""
        if not self.again:
            return f"no restart: {self.why}"
        when = (
            f"in {duration(self.seconds) if self.seconds >= 60 else f'{self.seconds:g} s'}" if self.seconds else "now"
        )
        return f"restarts {when}: {self.why}"


def setback(failure: Failure | None, step: int | None, lasted: float) -> Setback:
    """What a failure was, from its own words."""
    if failure is None:
        return Setback("own error", "launch", "unknown", (), step, lasted)
    kind, rank = _kind(failure), "" if failure.rank is None else f" rank {failure.rank}"
    error, is_raised = _error(failure)
    frames = _FRAME.findall(failure.cause) if is_raised else []
    same = (failure.component, *((_plain(error), *frames[-1]) if frames else (_plain(error),)))
    if kind not in ("own error", "native crash"):
        same = (failure.component, kind, *(frames[-1] if frames and kind == "out of memory" else ()))
    return Setback(kind, f"{failure.component}{rank}", error, same, step, lasted)


def judge(earlier: Sequence[Setback], now: Setback, backoff: float) -> Verdict:
    """The verdict on the attempt that has just failed, after those of the same launch before it."""
    what = f"{now.who}: {now.what}" if now.kind == "own error" else f"{now.kind}: {now.who}: {now.what}"
    if now.kind == "full disk":
        return Verdict(now.kind, False, f"{what}; another attempt would need space too")
    if now.instead:
        what = f"{what}; {now.instead}"
    if now.kind == "lost node":
        why = what if now.instead else f"{what}; no other node can take its place"
        return Verdict(now.kind, bool(now.instead), why)
    same = [each for each in earlier if each.likeness == now.likeness]
    if now.kind in REPEATS and same and not _has_moved(same[-1], now):
        return Verdict(
            now.kind, False, f"{what}; an earlier attempt failed in the same way, and no step was made since"
        )
    return Verdict(now.kind, True, what, _pause(earlier, now, backoff))


def used_up(failure: Failure | None, restarts: int) -> Verdict:
    """The verdict on the failure of an attempt when all restarts have been made."""
    found = setback(failure, None, 0.0)
    return Verdict(found.kind, False, f"{found.who}: {found.what}; --max-restarts {restarts} is used up")


def overruled(verdict: Verdict | None, failed: str, why: str) -> Verdict:
    """The verdict on an attempt after which there is no other one after all. `failed` is its failure, if not judged."""
    kind: Kind = verdict.kind if verdict else "lost node" if why.startswith("node ") else "own error"
    return Verdict(kind, False, f"{verdict.why if verdict else failed}; {why}")


def _pause(earlier: Sequence[Setback], now: Setback, backoff: float) -> float:
    """Twice as long after each attempt without progress."""
    pause, longest, last = backoff, max(backoff, LONGEST_BACKOFF), now
    for each in reversed(earlier):
        if _has_moved(each, last) or pause >= longest:
            break
        pause, last = 2 * pause, each
    return min(pause, longest)


def _has_moved(before: Setback, now: Setback) -> bool:
    """Whether the attempt `now` made a step that `before` had not made."""
    if now.step is None:
        return now.kind != "hang" and now.lasted >= LONG  # a hang lasts as long as the watchdog lets it
    return now.step > (before.step or 0)


def _kind(failure: Failure) -> Kind:
    if failure.component.startswith("node "):
        return "lost node"
    if failure.what.startswith(STALLED):
        return "hang"
    said = _said(failure)
    for kind, words in WORDS.items():
        if words.search(said) and not (kind == "network" and MISUSE.search(said)):
            return kind
    if failure.what in CRASHES:
        return "native crash"
    return "signal" if SIGNAL.fullmatch(failure.what) else "own error"


def _said(failure: Failure) -> str:
    """The exception's own words. Without one, and for one of the user's code, only what is believed anyway."""
    head, frame, _ = failure.cause.partition('\n  File "')
    is_raised = frame and (failure.what in CRASHES or not SIGNAL.fullmatch(failure.what))
    if is_raised and not OWN.match(head):
        return head
    return "\n".join(line for line in failure.cause.splitlines() if TOLD.search(line))


def _error(failure: Failure) -> tuple[str, bool]:
    """The exception's own line, or else how the process ended; and whether there is an exception."""
    first = failure.cause.partition("\n")[0]
    is_raised = _FRAME.search(failure.cause) is not None and not SIGNAL.fullmatch(failure.what)
    return in_one_line(first if is_raised else failure.what)[:SHOWN], is_raised


def _plain(text: str) -> str:
    """The text without its numbers; an exit code is not one of them."""
    return _NUMBER.sub(lambda found: found[1] or "#", text)
