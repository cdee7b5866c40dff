"""The time left is that of the newest steps."""

from collections.abc import Iterator

from launcher.view.pace import REMEMBERED, Pace


def pace_of(*readings: tuple[int, float]) -> Pace:
    times: Iterator[float] = iter([when for _, when in readings])
    pace = Pace(lambda: next(times))
    for step, _ in readings:
        pace.add(step)
    return pace


def test_it_is_unknown_before_the_second_step_and_without_a_total() -> None:
    assert pace_of((4, 0.0)).seconds_left(10) is None
    assert pace_of((4, 0.0), (5, 2.0)).seconds_left(None) is None


def test_it_counts_from_the_first_step_that_was_seen() -> None:
    assert pace_of((4, 10.0), (6, 14.0)).seconds_left(10) == 8.0
    assert pace_of((9, 0.0), (10, 1.0)).seconds_left(10) == 0.0


def test_a_run_that_became_slower_is_believed() -> None:
    fast = [(step, step * 1.0) for step in range(100)]
    slow = [(100 + step, 100 + step * 9.0) for step in range(REMEMBERED)]
    assert pace_of(*fast, *slow).seconds_left(120) == 9.0


def test_a_step_that_goes_back_begins_anew() -> None:
    pace = pace_of((50, 0.0), (60, 1.0), (40, 5.0), (41, 7.0))
    assert pace.seconds_left(43) == 4.0
