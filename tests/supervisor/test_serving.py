"""Whether a server still serves: tries that are given, on the real clock."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from launcher.plan.spec import Alive, ProcessSpec, Role
from launcher.supervisor.rules.events import Event, NotReady, Ready, Silent
from launcher.supervisor.serving import Pulse, Watch

OK, MISS = None, "refused the connection"


def silent_after(answers: Iterable[str | OSError | None], misses: int = 3) -> int:
    """How many tries it takes until the server counts as dead."""
    left, asked = iter(answers), 0

    def probe() -> str | None:
        nonlocal asked
        asked += 1
        answer = next(left)
        if isinstance(answer, OSError):
            raise answer
        return answer

    asyncio.run(Pulse(Alive("tcp://h:1", 0.005, misses), probe).until_silent())
    return asked


@pytest.mark.parametrize(
    ("answers", "tries"),
    [
        ([MISS, MISS, MISS], 3),
        ([OK, OK, MISS, MISS, MISS], 5),
        ([MISS, MISS, OK, MISS, MISS, MISS], 6),
        ([MISS, "answered 503 Service Unavailable", "did not answer within 10s"], 3),
    ],
)
def test_only_misses_in_a_row_count(answers: list[str | None], tries: int) -> None:
    assert silent_after(answers) == tries


def test_how_many_misses_count_can_be_chosen() -> None:
    assert silent_after([MISS], misses=1) == 1


def test_a_try_that_launch_itself_could_not_make_is_no_miss() -> None:
    own_trouble = OSError(24, "Too many open files")
    assert silent_after([MISS, MISS, own_trouble, own_trouble, MISS]) == 5


def watched(log: Path, ready: str | None, alive: Alive | None = None) -> list[Event]:
    """What is told of a component that has been started."""
    events: list[Event] = []
    spec = ProcessSpec(
        "inference", ("true",), Role.SERVES, log.parent, log, ready=ready, ready_timeout=0.2, alive=alive
    )
    watch = Watch(spec)
    log.write_text("up\n")
    asyncio.run(watch.run(events.append))
    return events


def test_a_server_that_is_ready_and_then_silent_is_told_to_be_both(tmp_path: Path) -> None:
    events = watched(tmp_path / "log", "log:up", Alive("tcp://127.0.0.1:9", 0.01, 2))
    assert [type(event) for event in events] == [Ready, Silent]
    assert events[1] == Silent("inference", "tcp://127.0.0.1:9", 0.02, "refused the connection")


def test_a_server_that_is_not_asked_again_is_ready_for_good(tmp_path: Path) -> None:
    assert [type(event) for event in watched(tmp_path / "log", "log:up")] == [Ready]


def test_what_a_server_is_asked_for_life_is_not_asked_before_it_was_ready(tmp_path: Path) -> None:
    events = watched(tmp_path / "log", "log:down", Alive("tcp://127.0.0.1:9", 0.01, 2))
    assert events == [NotReady("inference", "log:down", 0.2, "has no such line")]
