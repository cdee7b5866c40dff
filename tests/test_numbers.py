"""Numbers as people read them."""

import pytest

from launcher.numbers import size, three_digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0001, "0.0001"),
        (0.00012345, "0.000123"),
        (-0.12345, "-0.123"),
        (0.5, "0.5"),
        (45.678, "45.7"),
        (999.4, "999"),
        (999.6, "1k"),
        (-12_345, "-12.3k"),
        (999_950, "1M"),
        (1.5e9, "1.5G"),
        (2e14, "200T"),
        (1e20, "1e+20"),
        (3e-7, "3e-07"),
    ],
)
def test_a_number_has_three_significant_digits(value: float, text: str) -> None:
    assert three_digits(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 kB"),
        (3_400, "3 kB"),
        (999_999, "1 MB"),
        (512e6, "512 MB"),
        (999e6, "999 MB"),
        (999_999_999, "1.0 GB"),
        (1.5e9, "1.5 GB"),
        (16e9, "16.0 GB"),
        (999.9e9, "999.9 GB"),
        (999.99e9, "1.0 TB"),
        (3.2e12, "3.2 TB"),
    ],
)
def test_sizes_are_short(count: float, text: str) -> None:
    assert size(count) == text
