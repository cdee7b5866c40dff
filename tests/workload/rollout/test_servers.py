"""Several inference servers: one is lost and comes back while the others serve."""

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.workload.files import appearing
from launcher.workload.rollout.client import Completed
from launcher.workload.rollout.policy import Policy
from launcher.workload.rollout.servers import InferenceServers
from tests.several_nodes import free_port
from tests.workload import running
from tests.workload.rollout.test_client import ASKED
from tests.workload.running import serving, tiny

SECONDS = 60.0


def publish(run: RunDir, step: int) -> None:
    with appearing(run.weights(step)) as draft:
        running.publish(tiny(seed=step), draft, attempt=run.attempt, step=step)


async def ask_eight(policy: Policy) -> set[int]:
    """The steps of the policies that have sampled eight requests at a time."""
    asked = (policy.ask(replace(ASKED, seed=seed)) for seed in range(8))
    groups: list[list[Completed]] = await asyncio.wait_for(asyncio.gather(*asked), SECONDS)
    return {one.policy_step for group in groups for one in group}


def test_while_one_is_away_the_others_serve_and_get_weights_and_it_comes_back_with_theirs(tmp_path: Path) -> None:
    run = RunDir(tmp_path)

    async def story(stack: ExitStack) -> None:
        stays, other = stack.enter_context(serving())
        port = free_port()
        with ExitStack() as dying:
            lost, _ = dying.enter_context(serving(port=port))
            servers = InferenceServers(f"{lost},{stays}", "policy")
            policy = Policy(run, servers, SECONDS, SECONDS)
            publish(run, 0)
            await policy.reach(0, 0)
            assert await ask_eight(policy) == {0}
        assert await ask_eight(policy) == {0}
        assert [server.returning is None for server in servers.servers] == [False, True]
        publish(run, 1)
        await policy.reach(1, 1)
        assert (policy.step, other.step) == (1, 1)
        assert await ask_eight(policy) == {1}
        publish(run, 2)  # which the others do not have yet
        _, back = stack.enter_context(serving(port=port))
        returning = servers.servers[0].returning
        assert returning is not None
        await asyncio.wait_for(returning, SECONDS)
        assert (back.step, policy.step) == (1, 1)
        assert await ask_eight(policy) == {1}
        await policy.reach(2, 2)
        assert (back.step, other.step) == (2, 2)
        assert await ask_eight(policy) == {2}
        await servers.__aexit__(None, None, None)

    with ExitStack() as stack:
        asyncio.run(story(stack))


def test_when_all_are_lost_the_first_that_is_back_has_the_newest_weights_and_is_asked(tmp_path: Path) -> None:
    run = RunDir(tmp_path)

    async def story(stack: ExitStack) -> None:
        ports = free_port(), free_port()
        with ExitStack() as dying:
            urls = [dying.enter_context(serving(port=port))[0] for port in ports]
            servers = InferenceServers(",".join(urls), "policy")
            policy = Policy(run, servers, SECONDS, SECONDS)
            publish(run, 0)
            await policy.reach(0, 0)
        publish(run, 3)
        asked = asyncio.ensure_future(ask_eight(policy))
        while not all(server.returning and not server.client.in_flight for server in servers.servers):
            await asyncio.sleep(0.01)  # what is still on its way may reach the new server before its weights do
        _, back = stack.enter_context(serving(port=ports[1]))
        assert await asked == {3}
        assert (policy.step, back.step) == (3, 3)
        await servers.__aexit__(None, None, None)
        assert len(asyncio.all_tasks()) == 1

    with ExitStack() as stack:
        asyncio.run(story(stack))


def test_one_that_does_not_come_back_in_time_ends_the_run_though_others_serve(tmp_path: Path) -> None:
    run = RunDir(tmp_path)

    async def story(stays: str) -> None:
        with ExitStack() as dying:
            lost, _ = dying.enter_context(serving())
            servers = InferenceServers(f"{lost},{stays}", "policy")
            policy = Policy(run, servers, 0.5, SECONDS)
            publish(run, 0)
            await policy.reach(0, 0)
        async with servers:
            with pytest.raises(UserError, match=r"was not ready after 0\.5 s"):
                while True:
                    await ask_eight(policy)

    with serving() as (url, _):
        asyncio.run(story(url))
