"""Why a run failed: the culprit's own words, found in its files."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.plan.spec import Plan, ProcessSpec, Ranks
from launcher.run.policy import Culprit, Policy

TAIL = 256 * 1024  # bytes that are read of a log's end
SHOWN_LINES = 40
_TRACEBACK = re.compile(r"^Traceback \(most recent call last\):", re.MULTILINE)
_CHAIN = ("During handling of the above exception", "The above exception was the direct cause")
_NOISE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@dataclass(frozen=True)
class Failure:
    component: str
    rank: int | None
    what: str  # exit code or signal, or the rule that was broken
    cause: str  # the traceback, or the last lines of the log; may have many lines
    log: Path | None  # the file to open
    collateral: tuple[str, ...]


def find_cause(plan: Plan, policy: Policy) -> Failure | None:
    """The failure of a run that has ended; None when it did not fail."""
    culprit = policy.culprit
    if culprit is None:
        return None
    spec = next((spec for spec in plan.processes if spec.name == culprit.component), None)
    if spec is None:
        return Failure(culprit.component, None, culprit.what, "", plan.run.launcher_log, tuple(policy.collateral))
    culprit, cause, log = _evidence(spec, culprit)
    collateral = tuple(name for name in policy.collateral if name != spec.name)
    return Failure(culprit.component, culprit.rank, culprit.what, cause, log, collateral)


def _evidence(spec: ProcessSpec, culprit: Culprit) -> tuple[Culprit, str, Path]:
    if spec.ranks is None:
        return culprit, last_words(spec.log), spec.log
    rank = culprit.rank if culprit.rank is not None else first_to_fail(spec.ranks)
    if rank is None:
        return culprit, last_words(spec.log), spec.log
    for directory in _rank_directories(spec.ranks, rank):
        log = directory / "stderr.log"
        cause = recorded_error(directory) or last_words(log) or last_words(directory / "stdout.log")
        if cause:
            return Culprit(spec.name, culprit.what, rank, culprit.exit_code), cause, log if log.exists() else spec.log
    return Culprit(spec.name, culprit.what, rank, culprit.exit_code), last_words(spec.log), spec.log


def _rank_directories(ranks: Ranks, rank: int) -> Iterator[Path]:
    """The rank's directories, that of the newest restart first."""
    restarts = sorted(ranks.directory.glob("attempt_*"), key=lambda path: int(path.name.rpartition("_")[2]))
    return (restart / str(rank) for restart in reversed(restarts))


def first_to_fail(ranks: Ranks) -> int | None:
    """The rank whose recorded error is the oldest; None when no rank has recorded any."""
    found = []
    for rank in range(ranks.count):
        for directory in _rank_directories(ranks, rank):
            error = _read_error(directory)
            if error:
                found.append((int(error.get("extraInfo", {}).get("timestamp", 0)), rank))
    return min(found)[1] if found else None


def recorded_error(directory: Path) -> str:
    """The traceback that torch's `record` wrote for a rank; empty when there is none."""
    error = _read_error(directory)
    return str(error.get("extraInfo", {}).get("py_callstack") or error.get("message", "")).strip() if error else ""


def _read_error(directory: Path) -> dict[str, dict[str, str]] | None:
    try:
        message = json.loads((directory / "error.json").read_bytes())["message"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return message if isinstance(message, dict) else {"message": message}


def last_words(log: Path) -> str:
    """The last traceback in a log, or else its last lines; empty when it has none."""
    text = _NOISE.sub("", _tail(log))
    traceback = last_traceback(text)
    lines = [line for line in (traceback or text).splitlines() if line.strip()]
    if traceback and len(lines) > SHOWN_LINES:
        lines = [*lines[:5], "  ...", *lines[-SHOWN_LINES:]]
    return "\n".join(lines if traceback else lines[-SHOWN_LINES // 2 :])


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def last_traceback(text: str) -> str:
    """The last traceback with what it was chained to, without the lines that follow it; empty when there is none."""
    starts = [match.start() for match in _TRACEBACK.finditer(text)]
    if not starts:
        return ""
    first = len(starts) - 1
    while first > 0 and any(link in text[starts[first - 1] : starts[first]] for link in _CHAIN):
        first -= 1
    head, last = text[starts[first] : starts[-1]], text[starts[-1] :].splitlines()
    body = next((i for i, line in enumerate(last[1:], 1) if line and not line.startswith(" ")), len(last) - 1)
    end = next((i for i, line in enumerate(last[body + 1 :], body + 1) if not line or _is_log_line(line)), len(last))
    return head + "\n".join(last[:end])


def _is_log_line(line: str) -> bool:
    return bool(re.match(r"\[?[A-Za-z]*\d*\]?:?\s*\[?\d{4}-\d\d-\d\d[ T]|[EWI]\d{4} ", line))
