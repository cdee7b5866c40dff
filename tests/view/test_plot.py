"""A plot in Braille dots."""

import math

import pytest

from launcher.view.plot import plot, sparkline

EMPTY = "\u2800"


def dots(lines: list[str]) -> list[str]:
    return [line.partition("┤")[2] for line in lines]


def filled(lines: list[str]) -> list[bool]:
    """For each line, whether it has a dot."""
    return [bool(row.strip(EMPTY)) for row in dots(lines)]


def test_nothing_is_plotted_as_nothing() -> None:
    assert plot([]) == []


@pytest.mark.parametrize("count", [1, 2, 3, 119, 120, 121, 1000, 100_003])
def test_a_plot_is_never_wider_or_higher_than_asked(count: int) -> None:
    lines = plot([math.sin(n) for n in range(count)], width=60, height=6)
    assert len(lines) == 6
    assert {len(row) for row in dots(lines)} == {min(60, (count + 1) // 2)}


def test_a_rising_series_goes_from_the_lower_left_to_the_upper_right() -> None:
    rows = dots(plot([float(n) for n in range(20)], height=5))
    assert rows[-1][0] != EMPTY and rows[0][-1] != EMPTY
    assert rows[0][0] == EMPTY and rows[-1][-1] == EMPTY


def test_a_flat_series_is_a_line_in_the_middle() -> None:
    assert filled(plot([3.0] * 40, height=5)) == [False, False, True, False, False]


def test_the_axis_names_the_highest_and_the_lowest_value() -> None:
    lines = plot([0.125, 250.0, 3.0], height=4)
    assert [line.partition("┤")[0].strip() for line in lines] == ["250", "", "", "0.125"]
    assert len({line.index("┤") for line in lines}) == 1


def test_values_that_share_a_column_are_averaged() -> None:
    assert plot([0.0, 2.0] * 500, width=10)[0].strip().startswith("1 ┤")


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_are_left_out(odd: float) -> None:
    assert plot([odd, 1.0, odd, 2.0]) == plot([1.0, 2.0])
    assert plot([odd]) == []


def test_a_sparkline_has_a_block_for_each_finite_value() -> None:
    assert sparkline([0, 1, float("nan"), 7, float("inf"), 3.5]) == "▁▂█▅"
    assert sparkline([2, 2]) == "▁▁"
    assert sparkline([8, 8, 4, 4, 0, 0], 3) == "█▅▁"
    assert sparkline([]) == ""
