"""Reads what torchrun and its ranks wrote about their end."""

import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.borders.files import matching, read_bytes
from launcher.borders.values import MOST_STEPS, whole_number
from launcher.failure.failure import Culprit, exit_text
from launcher.failure.log_end import clean, tail
from launcher.plan.spec import ProcessSpec, Ranks

_ROOT_CAUSE = re.compile(r"Root Cause.*?\(local_rank: (\d{1,6})\)\s+exitcode\s*: (-?\d{1,3})\b", re.DOTALL)
_FAILED_RANK = re.compile(r"\(local_rank: (\d{1,6})\)\s+exitcode\s*: (-?\d{1,3})\b")
_DEATH_SIGNAL = re.compile(r"Received (?:Signals\.)?(\w+) death signal")  # a number; before Python 3.11 a name


def torchrun_blames(spec: ProcessSpec) -> Culprit | None:
    """The rank that torchrun names as the root cause. It also knows ranks that ended before we saw them."""
    found = _ROOT_CAUSE.search(tail(spec.log))
    if found is None or spec.ranks is None or int(found.group(1)) >= spec.ranks.count:
        return None
    rank, code = int(found.group(1)), int(found.group(2))
    return Culprit(spec.name, exit_text(code), rank, code)


def exit_codes(spec: ProcessSpec) -> dict[int, int]:
    """The failed ranks in torchrun's report, local rank -> exit code, the root cause first."""
    text = tail(spec.log)
    found = {int(rank): int(code) for rank, code in _FAILED_RANK.findall(text)}
    first = torchrun_blames(spec)
    return dict(sorted(found.items(), key=lambda item: first is None or item[0] != first.rank))


def signal_to_torchrun(spec: ProcessSpec) -> signal.Signals | None:
    """The signal that torchrun received, from its log."""
    found = _DEATH_SIGNAL.search(tail(spec.log))
    known = {text: number for number in signal.Signals for text in (str(int(number)), number.name)}
    return known.get(found.group(1)) if found else None


def rank_directories(ranks: Ranks, rank: int) -> Iterator[Path]:
    """The rank's directories, the newest restart first."""
    return (restart / str(rank) for restart in _restarts(ranks))


def _restarts(ranks: Ranks) -> list[Path]:
    """torchrun's directories of its restarts, the newest first."""
    found = [path for path in matching(ranks.directory, "attempt_*") if path.name.removeprefix("attempt_").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("attempt_")), reverse=True)


def first_to_fail(ranks: Ranks) -> int | None:
    """The rank with the earliest recorded error of the newest restart. None without errors."""
    times = times_of_errors(ranks)
    return min(times, key=lambda rank: (times[rank], rank)) if times else None


def times_of_errors(ranks: Ranks) -> dict[int, int]:
    """When each rank recorded an error, in seconds since the epoch. From the newest restart with errors."""
    for restart in _restarts(ranks):
        errors = {rank: _read_error(restart / str(rank)) for rank in range(ranks.count)}
        times = {rank: error.time for rank, error in errors.items() if error}
        if times:
            return times
    return {}


def recorded_error(directory: Path) -> str:
    """The error that torch's `record`, or the program itself, wrote for a rank. Empty without one."""
    error = _read_error(directory)
    return error.text.strip() if error else ""


@dataclass(frozen=True)
class _RecordedError:
    text: str
    time: int  # seconds since the epoch; 0 if unknown


def _read_error(directory: Path) -> _RecordedError | None:
    """error.json. Any program may have written it, so its format is not certain."""
    try:
        message = json.loads(read_bytes(directory / "error.json"))["message"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(message, dict):
        return _RecordedError(clean(str(message)), 0)
    extra = message.get("extraInfo")
    extra = extra if isinstance(extra, dict) else {}
    time = whole_number(str(extra.get("timestamp", "")), MOST_STEPS)
    text = str(extra.get("py_callstack") or message.get("message") or "")
    return _RecordedError(clean(text), time or 0)
