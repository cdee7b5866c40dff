import asyncio
from collections.abc import Callable

from launcher.supervisor.deadline import Deadline
from launcher.supervisor.rules.events import DrainTimedOut, Event, GraceOver, Heartbeat


def posted(use: Callable[[Deadline], None]) -> list[Event]:
    """What a deadline has posted by the time of a later one."""

    async def run() -> list[Event]:
        events: list[Event] = []
        use(Deadline(events.append))
        is_late = asyncio.Event()
        asyncio.get_running_loop().call_later(0.02, is_late.set)
        await is_late.wait()
        return events

    return asyncio.run(run())


def test_its_event_is_posted_when_the_time_has_come() -> None:
    assert posted(lambda deadline: deadline.set(0.0, GraceOver())) == [GraceOver()]


def test_a_new_deadline_replaces_the_old_one() -> None:
    def use(deadline: Deadline) -> None:
        deadline.set(0.001, DrainTimedOut(1.0))
        deadline.set(0.002, GraceOver())

    assert posted(use) == [GraceOver()]


def test_the_event_of_a_replaced_or_cancelled_deadline_is_outdated_and_no_other_event_is() -> None:
    def use(deadline: Deadline) -> None:
        old, new = DrainTimedOut(1.0), GraceOver()
        deadline.set(1.0, old)
        assert not deadline.is_outdated(old)
        deadline.set(1.0, new)
        assert deadline.is_outdated(old) and not deadline.is_outdated(new)
        deadline.cancel()
        assert deadline.is_outdated(new) and not deadline.is_outdated(Heartbeat())

    assert posted(use) == []
