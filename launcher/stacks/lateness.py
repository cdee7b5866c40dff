"""Finds the ranks that reach their collectives later than the others, which wait for them. Pure.

It compares when each rank enqueued the same collective. Under NCCL a rank enqueues collectives ahead of its GPU, so
only what keeps its program from doing so is seen: data loading, garbage collection, a slow CPU.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median_low

from launcher.stacks.collectives import Recording

WARM_UP = 10  # the first collectives of a group tell of the start
FEWEST = 20  # collectives that all ranks must have enqueued
CLEAR = 0.1  # of the time; less is no straggler
OUTLIERS = 20  # one in so many of a rank's delays does not count: a checkpoint, an evaluation


@dataclass(frozen=True)
class Late:
    """Ranks for which the others have waited."""

    ranks: tuple[int, ...]
    share: float  # of the time, on average over these ranks
    seconds: float  # the time
    collectives: int  # that were compared


def find_late(recordings: Sequence[Recording]) -> Late | None:
    """The ranks that are clearly behind, in the group that waits longest. None if no rank is."""
    groups = {group for recording in recordings for group in recording.positions}
    found = [late for group in sorted(groups) if (late := _late_in(group, recordings)) is not None]
    return max(found, key=lambda late: late.share, default=None)


def _late_in(group: str, recordings: Sequence[Recording]) -> Late | None:
    arrivals = {each.rank: _arrivals(group, each) for each in recordings if group in each.positions}
    common = sorted(set.intersection(*map(set, arrivals.values()))) if len(arrivals) > 1 else []
    if len(common) < FEWEST:
        return None
    usual = {number: median_low(times[number] for times in arrivals.values()) for number in common}
    seconds = usual[common[-1]] - usual[common[0]]
    if seconds <= 0:
        return None
    shares = {
        rank: _covered([(usual[number], times[number]) for number in common]) / seconds
        for rank, times in arrivals.items()
    }
    largest = max(shares.values())
    ranks = tuple(sorted(rank for rank, share in shares.items() if share >= largest / 2))
    if largest < CLEAR or len(ranks) == len(shares):
        return None
    return Late(ranks, min(1.0, sum(shares[rank] for rank in ranks) / len(ranks)), seconds, len(common))


def _arrivals(group: str, recording: Recording) -> dict[int, float]:
    """When the rank enqueued each collective, by number."""
    calls = recording.positions[group].calls.items()
    return {number: call.enqueued for number, call in calls if number > WARM_UP and call.enqueued}


def _covered(delays: Sequence[tuple[float, float]]) -> float:
    """The seconds in which a rank was late, without its longest delays. Delays may overlap."""
    by_length = sorted(delays, key=lambda delay: delay[1] - delay[0])
    return sum(_lengths(sorted(by_length[: len(by_length) - len(by_length) // OUTLIERS])))


def _lengths(delays: Sequence[tuple[float, float]]) -> Iterator[float]:
    until = float("-inf")
    for start, end in delays:
        if end > max(start, until):
            yield end - max(start, until)
            until = end
