"""Formats numbers for people."""

import math
from collections.abc import Sequence

UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def three_digits(value: float) -> str:
    """Three significant digits: 0.0001, 0.123, 45.7, 12.3k."""
    rounded = float(f"{value:.3g}")
    for unit, suffix in UNITS:
        if unit <= abs(rounded) < 1e15:
            return f"{rounded / unit:.3g}{suffix}"
    return f"{rounded:.3g}"


def mean(values: Sequence[float]) -> float:
    """The mean of finite numbers, even if their sum overflows."""
    exact = sum(values) / len(values)
    return exact if math.isfinite(exact) else sum(value / len(values) for value in values)


def duration(seconds: float) -> str:
    """ "42s", "3m 07s", "2h 05m"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def plural(count: int, word: str) -> str:
    """1 rank, 2 ranks."""
    return f"{count} {word}{'s' if count != 1 else ''}"


def size(count: float) -> str:
    """Bytes as people say them: "3 kB", "512 MB", "1.5 GB", "3.2 TB"; never "1000 MB"."""
    if count < 999_500:
        return f"{count / 1e3:.0f} kB"
    if count < 999.5e6:
        return f"{count / 1e6:.0f} MB"
    return f"{count / 1e9:.1f} GB" if count < 999.95e9 else f"{count / 1e12:.1f} TB"
