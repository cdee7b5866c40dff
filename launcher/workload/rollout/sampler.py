"""Keeps groups in flight, as many as fit, and the complete ones until a step takes them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from launcher.workload.rollout.groups import RolloutGroup


@dataclass
class Sampler:
    """`sample` makes the group of one index; indices are consecutive, in whatever order the groups are complete."""

    sample: Callable[[int], Awaitable[RolloutGroup]]
    index: int  # of the next group
    most_in_flight: int
    redraws: int = 0  # most groups without signal that a step drops, for others to be drawn
    _stale: int = 0  # groups that were too old when a step could take them
    _resampled: int = 0  # groups without signal that were dropped
    _in_flight: set[asyncio.Future[RolloutGroup]] = field(default_factory=set)
    _complete: list[RolloutGroup] = field(default_factory=list)

    def fill(self, allowed: int) -> None:
        """Start groups until `allowed` of them are in flight or complete, or no more fit."""
        while len(self._in_flight) < min(self.most_in_flight, allowed - len(self._complete)):
            self._in_flight.add(asyncio.ensure_future(self.sample(self.index)))
            self.index += 1

    async def wait(self, seconds: float) -> None:
        """Return once a group is complete, at the latest after this time. Raises what has made a group fail."""
        if not self._in_flight:
            await asyncio.sleep(seconds)
            return
        done, self._in_flight = await asyncio.wait(
            self._in_flight, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for group in (each.result() for each in done):
            if self._resampled < self.redraws and not group.has_signal:
                self._resampled += 1
            else:
                self._complete.append(group)

    def take(self, count: int, oldest: int) -> list[RolloutGroup] | None:
        """The first `count` complete groups; None before so many are. Those of a policy before `oldest` are dropped."""
        fresh = sorted(
            (group for group in self._complete if group.policy_step >= oldest), key=lambda group: group.index
        )
        self._stale += len(self._complete) - len(fresh)
        taken, self._complete = (fresh[:count], fresh[count:]) if len(fresh) >= count else (None, fresh)
        return taken

    def count_dropped(self) -> dict[str, int]:
        """The groups that were dropped since the last call, by why, as metrics."""
        dropped = {"groups/stale": self._stale, "groups/resampled": self._resampled}
        self._stale = self._resampled = 0
        return dropped

    async def close(self) -> None:
        """End what is in flight."""
        for each in self._in_flight:
            each.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)
