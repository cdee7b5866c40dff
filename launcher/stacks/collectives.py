"""Finds the collective that a rank never enqueued, by comparing the ranks' flight recorders. Pure.

Each rank numbers the collectives of a process group: 1, 2, 3 and so on. If rank 1's newest number is 3 and the other
ranks wait in number 4, then rank 1 has not enqueued number 4.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from launcher.borders.screen import in_one_line

DEFAULT = "default_pg"  # torch's description of the group that all ranks are in
SETTLED = 10.0  # seconds; a rank that is later than this has "never enqueued", before that it "has not enqueued"


@dataclass(frozen=True)
class Call:
    """One rank's call of one collective."""

    operation: str  # "all_reduce"
    enqueued: float  # seconds since the epoch; 0 if the recorder does not say


@dataclass(frozen=True)
class Position:
    """One rank's position in one process group."""

    enqueued: int  # number of its newest collective
    completed: int  # number of its newest completed collective
    calls: Mapping[int, Call] = field(default_factory=dict)  # its newest collectives, by number
    description: str = DEFAULT


@dataclass(frozen=True)
class Recording:
    """The content of one rank's flight recorder. `trouble` is why it could not be read."""

    rank: int  # global rank
    positions: Mapping[str, Position] = field(default_factory=dict)  # by group
    members: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # by group, if torch records them
    trouble: str = ""


@dataclass(frozen=True)
class Finding:
    """A collective that ranks wait in, and the ranks that they wait for."""

    group: str  # "the default group"
    number: int
    operation: str
    waiting: tuple[int, ...]
    since: float  # when the last waiting rank enqueued it; seconds since the epoch
    missing: tuple[int, ...] = ()  # ranks that have not enqueued it
    instead: Mapping[int, str] = field(default_factory=dict)  # rank -> the other operation that it enqueued

    @property
    def culprits(self) -> tuple[int, ...]:
        return self.missing or tuple(sorted(self.instead))


def find(recordings: Sequence[Recording]) -> list[Finding]:
    """Every group in which ranks wait for others, longest wait first.

    Only ranks whose recorder could be read are compared. In a group other than the default one, only its known members
    are compared.
    """
    read = {recording.rank: recording for recording in recordings if not recording.trouble}
    groups = {name for recording in read.values() for name in recording.positions}
    found = [finding for group in sorted(groups) if (finding := _find_in(group, read)) is not None]
    return sorted(found, key=lambda finding: (not finding.culprits, finding.since))


def _find_in(group: str, read: Mapping[int, Recording]) -> Finding | None:
    at = {rank: recording.positions.get(group) for rank, recording in read.items() if _is_in(group, recording, read)}
    newest = {rank: position.enqueued if position else 0 for rank, position in at.items()}
    lowest = min(newest.values())
    number = lowest + 1 if lowest < max(newest.values()) else lowest
    missing = tuple(sorted(rank for rank in newest if newest[rank] < number))
    there = {rank: position for rank, position in at.items() if position and position.enqueued >= number}
    waiting = tuple(sorted(rank for rank, position in there.items() if position.completed < number))
    if not waiting or not number:
        return None
    calls = {rank: there[rank].calls[number] for rank in waiting if number in there[rank].calls}
    operation = _commonest(call.operation for call in calls.values())
    instead = {rank: call.operation for rank, call in calls.items() if call.operation != operation}
    since = max((call.enqueued for call in calls.values()), default=0.0)
    agreeing = tuple(rank for rank in waiting if rank not in instead)
    title = _title(group, next(iter(there.values())).description)
    return Finding(title, number, operation, agreeing, since, missing, instead)


def _is_in(group: str, recording: Recording, read: Mapping[int, Recording]) -> bool:
    """Whether the rank is known to be in the group: it enqueues there, torch lists it, or it is the default group."""
    if group in recording.positions:
        return True
    others = [other.positions[group] for other in read.values() if group in other.positions]
    listed = {rank for other in read.values() for rank in other.members.get(group, ())}
    return others[0].description == DEFAULT or recording.rank in listed


def _commonest(operations: Iterable[str]) -> str:
    counted = list(operations)
    return max(counted, key=counted.count, default="collective")


def _title(group: str, description: str) -> str:
    if description == DEFAULT:
        return "the default group"
    return f"group {group}" if description in ("", "undefined") else f"group {group} ({description})"


# --- in words ---------------------------------------------------------------------------------------------------------


def collective_lines(recordings: Sequence[Recording], now: float) -> list[str]:
    """A sentence for each finding and for each recorder that could not be read. Empty if there are no collectives."""
    lines = [_sentence(finding, now) for finding in find(recordings)]
    troubles = sorted((recording.trouble, recording.rank) for recording in recordings if recording.trouble)
    for trouble, pairs in groupby(troubles, lambda pair: pair[0]):
        lines.append(f"collectives of {ranks_text([rank for _, rank in pairs])}: unknown, {trouble}")
    return lines


def _sentence(finding: Finding, now: float) -> str:
    what = f"{finding.operation} {finding.number} of {finding.group}"
    when = time.strftime("%H:%M:%S", time.localtime(finding.since)) if finding.since else ""
    wait = f"{'wait' if len(finding.waiting) > 1 else 'waits'} in it" + (f" since {when}" if when else "")
    if finding.missing:
        never = "never enqueued" if now - finding.since >= SETTLED else "has not enqueued"
        never = never.replace("has", "have") if len(finding.missing) > 1 else never
        return f"{ranks_text(finding.missing)} {never} {what}; {ranks_text(finding.waiting)} {wait}"
    if finding.instead:
        others = [
            f"{ranks_text([rank for rank, operation in finding.instead.items() if operation == each])} enqueued {each}"
            for each in sorted(set(finding.instead.values()))
        ]
        return f"{', '.join(others)} in place of {what}; {ranks_text(finding.waiting)} {wait}"
    wait = wait.replace("in it", f"in {what}")
    return f"{ranks_text(finding.waiting)} {wait}; every rank that could be read has enqueued it"


def ranks_text(ranks: Iterable[int], word: str = "rank") -> str:
    """For example "rank 1", "ranks 0 and 2" or "ranks 0-3, 5 and 7"."""
    ordered = sorted(ranks)
    spans = []
    for _, span in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0]):
        numbers = [rank for _, rank in span]
        spans += [str(number) for number in numbers] if len(numbers) < 3 else [f"{numbers[0]}-{numbers[-1]}"]
    listed = spans[0] if len(spans) == 1 else f"{', '.join(spans[:-1])} and {spans[-1]}"
    return f"{word}{'s' if len(ordered) > 1 else ''} {listed}"


# --- from torch -------------------------------------------------------------------------------------------------------


def recording_of(rank: int, dump: Any) -> Recording:
    """Check a dump that was read from JSON or from a pickle. Any program may have written it.

    Raises:
        ValueError: it is not a flight recorder's dump.
    """
    try:
        return _recording(rank, dump)
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a flight recorder's dump: {error!r}") from error


def _recording(rank: int, dump: Mapping[str, Any]) -> Recording:
    calls: dict[str, dict[int, Call]] = {}
    groups: dict[str, tuple[str, str]] = {}  # torch's id of a group on this rank -> (name, description)
    for entry in dump.get("entries", ()):
        if entry["is_p2p"]:
            continue
        name, description = map(_word, entry["process_group"])
        groups[str(entry["pg_id"])] = name, description
        call = Call(_operation(entry["profiling_name"]), _seconds(entry["time_created_ns"]))
        calls.setdefault(name, {})[int(entry["collective_seq_id"])] = call
    positions = {}
    for number, (name, description) in groups.items():
        status = dump.get("pg_status", {}).get(number, {})
        newest = max(calls.get(name, {0: None}))
        enqueued = int(status.get("last_enqueued_collective", newest))
        completed = int(status.get("last_completed_collective", -1))
        positions[name] = Position(max(enqueued, newest), completed, calls.get(name, {}), description)
    return Recording(rank, positions, dict(_members(dump.get("pg_config", {}))))


def _word(text: Any) -> str:
    """Raises TypeError if it is not a string. (`str()` of nested lists in a malicious pickle may never end.)"""
    if not isinstance(text, str):
        raise TypeError(f"no text but {type(text)}")
    return in_one_line(text)[:80]


def _operation(name: str) -> str:
    """The operation's name without its backend: all_reduce for nccl:all_reduce."""
    return _word(name.rpartition(":")[2])


def _seconds(nanoseconds: Any) -> float:
    """Seconds since the epoch; 0 if the value cannot be a time."""
    seconds = int(nanoseconds or 0) / 1e9
    return seconds if 0 < seconds < 1 << 32 else 0.0


def _members(configuration: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Under gloo all groups share one entry without a name. It says nothing about any of them."""
    for group, config in configuration.items():
        if group:
            ranks = config["ranks"]
            yield _word(group), tuple(map(int, json.loads(ranks) if isinstance(ranks, str) else ranks))
