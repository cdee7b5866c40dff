import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from launcher.errors import UserError
from launcher.workload.rollout.groups import RolloutGroup
from launcher.workload.rollout.sampler import Sampler
from tests.workload.rollout.test_groups import group


class Prompts:
    """Groups that are complete when the test says so."""

    def __init__(self) -> None:
        self.started: dict[int, asyncio.Future[RolloutGroup]] = {}

    async def sample(self, index: int) -> RolloutGroup:
        self.started[index] = asyncio.get_running_loop().create_future()
        return await self.started[index]

    def complete(self, *indices: int, policy_step: int = 0, lowest: float = 0.0) -> None:
        for index in indices:
            self.started[index].set_result(group(lowest, 1.0, index=index, policy_step=policy_step))


def run(history: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(history, 10))


async def settle(sampler: Sampler) -> None:
    for _ in range(3):
        await sampler.wait(0.001)


def indices(groups: list[RolloutGroup] | None) -> list[int]:
    assert groups is not None
    return [group.index for group in groups]


def test_complete_groups_go_first_and_a_straggler_holds_up_no_step() -> None:
    async def history() -> None:
        prompts = Prompts()
        sampler = Sampler(prompts.sample, index=0, most_in_flight=100)
        sampler.fill(8)
        await settle(sampler)
        prompts.complete(1, 2, 3)
        await settle(sampler)
        assert sampler.take(4, 0) is None
        prompts.complete(6)
        await settle(sampler)
        assert indices(sampler.take(4, 0)) == [1, 2, 3, 6]
        prompts.complete(0, 4, 5, 7)
        await settle(sampler)
        assert indices(sampler.take(4, 0)) == [0, 4, 5, 7]

    run(history())


def test_no_more_are_started_than_are_allowed_or_fit() -> None:
    async def history() -> None:
        prompts = Prompts()
        sampler = Sampler(prompts.sample, index=10, most_in_flight=3)
        sampler.fill(2)
        await settle(sampler)
        assert [*prompts.started] == [10, 11]
        sampler.fill(5)
        await settle(sampler)
        assert [*prompts.started] == [10, 11, 12]
        prompts.complete(10, 11)
        await settle(sampler)
        sampler.fill(5)
        await settle(sampler)
        assert [*prompts.started] == [10, 11, 12, 13, 14]
        await sampler.close()

    run(history())


def test_a_group_that_has_become_too_old_is_counted_and_another_takes_its_place() -> None:
    async def history() -> None:
        prompts = Prompts()
        sampler = Sampler(prompts.sample, index=0, most_in_flight=100)
        sampler.fill(2)
        await settle(sampler)
        prompts.complete(0, policy_step=0)
        prompts.complete(1, policy_step=1)
        await settle(sampler)
        assert sampler.take(2, oldest=1) is None
        assert [sampler.count_dropped()["groups/stale"] for _ in range(2)] == [1, 0]
        sampler.fill(2)
        await settle(sampler)
        prompts.complete(2, policy_step=2)
        await settle(sampler)
        assert indices(sampler.take(2, oldest=1)) == [1, 2]

    run(history())


def test_groups_without_signal_are_drawn_anew_so_many_times_in_a_step() -> None:
    async def history() -> None:
        prompts = Prompts()
        sampler = Sampler(prompts.sample, index=0, most_in_flight=100, redraws=2)
        for step in (1, 2):
            start = sampler.index
            for silent in range(start, start + 2):
                sampler.fill(1)
                await settle(sampler)
                prompts.complete(silent, lowest=1.0)
                await settle(sampler)
                assert sampler.take(1, 0) is None, step
            sampler.fill(1)
            await settle(sampler)
            prompts.complete(start + 2, lowest=1.0)
            await settle(sampler)
            assert indices(sampler.take(1, 0)) == [start + 2]
            assert sampler.count_dropped() == {"groups/stale": 0, "groups/resampled": 2}

    run(history())


def test_what_makes_a_group_fail_ends_the_wait() -> None:
    async def broken(index: int) -> RolloutGroup:
        raise UserError("the server refuses")

    async def history() -> None:
        sampler = Sampler(broken, index=0, most_in_flight=1)
        sampler.fill(1)
        with pytest.raises(UserError, match="refuses"):
            await settle(sampler)

    run(history())
