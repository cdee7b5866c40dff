"""Small plots for a terminal: a line of block characters, or Braille dots, of which each character has two by four."""

import itertools
import math
from collections.abc import Sequence

from launcher.numbers import mean, three_digits

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bits of U+2800, by row and column

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """A block character for each value, the lowest one for the least, or for each average of neighbours.

    NaN and infinity are left out.
    """
    values = [value for value in values if math.isfinite(value)]
    values = _averages(values, min(len(values), width)) if values else []
    low, high = min(values, default=0.0), max(values, default=0.0)
    if low == high:
        return _BLOCKS[0] * len(values)
    return "".join(_BLOCKS[int(_share(value, low, high) * (len(_BLOCKS) - 1) + 0.5)] for value in values)


def plot(values: Sequence[float], width: int = 60, height: int = 6) -> list[str]:
    """`height` lines of at most `width` characters and an axis; values are averaged where a column holds several.

    NaN and infinity are left out.
    """
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return []
    columns = _averages(values, min(len(values), 2 * width))
    low, high = min(columns), max(columns)
    cells = [[0x2800] * ((len(columns) + 1) // 2) for _ in range(height)]
    for x, value in enumerate(columns):
        y = round((1 - _share(value, low, high)) * (4 * height - 1))
        cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    labels = [three_digits(high), *[""] * (height - 2), three_digits(low)]
    margin = max(len(label) for label in labels)
    return [f"{label:>{margin}} ┤{''.join(map(chr, row))}" for label, row in zip(labels, cells, strict=True)]


def _share(value: float, low: float, high: float) -> float:
    """The value's place from low (0) to high (1). Each is divided by 10, because `high - low` may overflow."""
    distance = high / 10 - low / 10
    return min(1.0, max(0.0, (value / 10 - low / 10) / distance)) if distance > 0 else 0.5


def _averages(values: Sequence[float], count: int) -> list[float]:
    """`values` as `count` averages of neighbours."""
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    parts = [values[start:end] for start, end in itertools.pairwise(edges)]
    return [mean(part) for part in parts]
