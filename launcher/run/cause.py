"""Why a run failed: the culprit's own words, found in its files."""

import json
import os
import platform
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.plan.spec import Plan, ProcessSpec, Ranks
from launcher.run.events import exit_text, received_text
from launcher.run.failure import Culprit, Failure
from launcher.run.policy import Policy

TAIL = 256 * 1024  # bytes that are read of a log's end
FULL = 64 * 1024  # bytes; a disk with less is full
SHOWN_LINES = 40
SHOWN_COLUMNS = 1000  # of a longer line, its beginning
_TRACEBACK = re.compile(r"^Traceback \(most recent call last\):", re.MULTILINE)
_ROOT_CAUSE = re.compile(r"Root Cause.*?\(local_rank: (\d+)\)\s+exitcode\s*: (-?\d+)", re.DOTALL)
_DEATH_SIGNAL = re.compile(r"Received (?:Signals\.)?(\w+) death signal")  # a number, before Python 3.11 a name
_CHAIN = ("During handling of the above exception", "The above exception was the direct cause")
_NOISE = re.compile(
    r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|.)"  # colours and titles for a terminal
    r"|[\x00-\x08\x0b-\x1f\x7f]"  # other control characters
    r"|^\[rank\d+\]: ?",  # what torch.distributed puts before each line of a traceback
    re.MULTILINE,
)


def find_cause(plan: Plan, policy: Policy) -> Failure | None:
    """The failure of a run that has ended; None when it did not fail.

    Another node's is as that node has told it, and node 0, which hears all, is believed before what was found here.
    """
    culprit = policy.culprit
    if culprit is None:
        return None
    collateral = tuple(policy.collateral)
    told = policy.told.get(0) or policy.told.get(culprit.node or 0)
    if told or culprit.node is not None:
        return replace(told or _without_words(plan, culprit), collateral=collateral)
    failure = _find_here(plan, culprit, collateral)
    return replace(failure, node=plan.nodes.rank, host=platform.node()) if plan.nodes else failure


def _without_words(plan: Plan, culprit: Culprit) -> Failure:
    """Another node's failure of which that node has not told the end."""
    hosts = plan.nodes.hosts if plan.nodes else ()
    host = hosts[culprit.node] if culprit.node is not None and culprit.node < len(hosts) else None
    where = f"node {culprit.node}" + (f", {host}," if host else "")
    cause = f"{where} has said no more: launch was killed there, or the machine or its network is gone"
    return Failure(culprit.component, culprit.rank, culprit.what, cause, None, (), culprit.node, host)


def _find_here(plan: Plan, culprit: Culprit, collateral: tuple[str, ...]) -> Failure:
    spec = plan.process(culprit.component)
    if spec is None:
        return Failure(culprit.component, None, culprit.what, "", plan.run.launcher_log, collateral)
    culprit, cause, log = _evidence(spec, culprit)
    cause = "\n".join([_shortened(line) for line in cause.splitlines()] + _full_disk(plan.run.root))
    others = tuple(name for name in collateral if name != spec.name)
    return Failure(culprit.component, global_rank(spec, culprit.rank), culprit.what, cause, log, others)


def global_rank(spec: ProcessSpec | None, local_rank: int | None) -> int | None:
    """The rank's number among those of all nodes."""
    return local_rank if local_rank is None or spec is None or spec.ranks is None else spec.ranks.first + local_rank


def _full_disk(directory: Path) -> list[str]:
    """What nobody could write down any more."""
    with suppress(OSError):
        disk = os.statvfs(directory)
        if disk.f_bavail * disk.f_frsize < FULL:
            return [f"the disk of {directory} is full"]
    return []


def _shortened(line: str) -> str:
    more = len(line) - SHOWN_COLUMNS
    return line if more <= 0 else f"{line[:SHOWN_COLUMNS]}... ({more} more characters)"


def _evidence(spec: ProcessSpec, culprit: Culprit) -> tuple[Culprit, str, Path]:
    """(who it really was, its own words, the file to open)."""
    if spec.ranks is None:
        return culprit, last_words(spec.log), spec.log
    culprit = culprit if culprit.rank is not None else _torchruns_own_account(spec, culprit)
    culprit = _who_raised_first(spec.ranks, culprit)
    rank = culprit.rank if culprit.rank is not None else first_to_fail(spec.ranks)
    for directory in _rank_directories(spec.ranks, rank) if rank is not None else ():
        log = directory / "stderr.log"
        cause = recorded_error(directory) or last_words(log) or last_words(directory / "stdout.log")
        if cause:
            return replace(culprit, rank=rank), cause, log if log.exists() else spec.log
    return replace(culprit, rank=rank), last_words(spec.log), spec.log


def _torchruns_own_account(spec: ProcessSpec, culprit: Culprit) -> Culprit:
    """What torchrun says of its end, when it ended before a rank was seen to."""
    ended_by_itself = culprit.exit_code is not None
    got = signal_to_torchrun(spec) if ended_by_itself else None
    return torchrun_blames(spec) or (replace(culprit, what=received_text(got)) if got else culprit)


def torchrun_blames(spec: ProcessSpec) -> Culprit | None:
    """The rank that torchrun itself names as the first to fail: it knows of ranks that were gone before we saw them."""
    found = _ROOT_CAUSE.search(_tail(spec.log))
    if found is None:
        return None
    rank, code = int(found.group(1)), int(found.group(2))
    return Culprit(spec.name, exit_text(code), rank, code)


def signal_to_torchrun(spec: ProcessSpec) -> signal.Signals | None:
    """The signal that torchrun has received: it says so before it passes it on to the ranks."""
    found = _DEATH_SIGNAL.search(_tail(spec.log))
    known = {text: number for number in signal.Signals for text in (str(int(number)), number.name)}
    return known.get(found.group(1)) if found else None


def _rank_directories(ranks: Ranks, rank: int) -> Iterator[Path]:
    """The rank's directories, that of the newest restart first."""
    return (restart / str(rank) for restart in _restarts(ranks))


def _restarts(ranks: Ranks) -> list[Path]:
    """torchrun's directories of its restarts, the newest first."""
    found = [path for path in ranks.directory.glob("attempt_*") if path.name.removeprefix("attempt_").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("attempt_")), reverse=True)


def first_to_fail(ranks: Ranks) -> int | None:
    """The rank whose error is the oldest of those that the newest restart recorded; None when there is none."""
    times = _times_of_errors(ranks)
    return min(times, key=lambda rank: (times[rank], rank)) if times else None


def _who_raised_first(ranks: Ranks, culprit: Culprit) -> Culprit:
    """Another rank, if it raised a second or more before the one that was seen to end first.

    A rank may take its time to end after an error, while another one ends at once of the connection it has lost.
    """
    times, first = _times_of_errors(ranks), first_to_fail(ranks)
    if culprit.rank not in times or first is None or not 0 < times[first] < times[culprit.rank]:
        return culprit
    ahead = times[culprit.rank] - times[first]
    what = f"raised an exception, {ahead} s before rank {ranks.first + culprit.rank} did"
    return replace(culprit, rank=first, what=what, exit_code=None)


def _times_of_errors(ranks: Ranks) -> dict[int, int]:
    """When each rank has recorded an error, in the newest restart that has any; seconds since the epoch."""
    for restart in _restarts(ranks):
        errors = {rank: _read_error(restart / str(rank)) for rank in range(ranks.count)}
        times = {rank: error.time for rank, error in errors.items() if error}
        if times:
            return times
    return {}


def recorded_error(directory: Path) -> str:
    """The traceback that torch's `record` wrote for a rank; empty when there is none."""
    error = _read_error(directory)
    return "\n".join(_fewer(error.text.splitlines())) if error else ""


@dataclass(frozen=True)
class _RecordedError:
    text: str
    time: int  # seconds since the epoch; 0 if it does not say


def _read_error(directory: Path) -> _RecordedError | None:
    """error.json, which any program may have written: nothing about its form is certain."""
    try:
        message = json.loads((directory / "error.json").read_bytes())["message"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(message, dict):
        return _RecordedError(_clean(str(message)), 0)
    extra = message.get("extraInfo")
    extra = extra if isinstance(extra, dict) else {}
    time = str(extra.get("timestamp", ""))
    text = str(extra.get("py_callstack") or message.get("message") or "")
    return _RecordedError(_clean(text), int(time) if time.isdecimal() else 0)


def _clean(text: str) -> str:
    printable = text.encode("utf-8", "replace").decode()  # a lone surrogate stands in no file of ours
    return _NOISE.sub("", printable).strip()


def last_words(log: Path) -> str:
    """The last traceback in a log, or else its last lines; empty when it has none."""
    text = _NOISE.sub("", _tail(log))
    traceback = last_traceback(text)
    lines = [line for line in (traceback or text).splitlines() if line.strip()]
    return "\n".join(_fewer(lines) if traceback else lines[-SHOWN_LINES // 2 :])


def _fewer(lines: list[str]) -> list[str]:
    return lines if len(lines) <= SHOWN_LINES else [*lines[:5], "  ...", *lines[-SHOWN_LINES:]]


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            return file.read(TAIL).decode(errors="replace")
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
