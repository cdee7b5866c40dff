"""How fast a run makes steps, and how long the rest will take."""

import time
from collections import deque
from collections.abc import Callable

REMEMBERED = 20  # readings: few enough to follow the pace, enough that one evaluation does not change it much


class Pace:
    """The newest readings of a run's step, each with its time. If the step goes back (a resume), they start anew."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._readings: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)

    def add(self, step: int) -> None:
        if self._readings and step < self._readings[-1][0]:
            self._readings.clear()
        if not self._readings or step > self._readings[-1][0]:
            self._readings.append((step, self._clock()))

    def rate(self) -> float | None:
        """Steps a second; None when it is not known yet."""
        if len(self._readings) < 2:
            return None
        (first, began), (last, ended) = self._readings[0], self._readings[-1]
        return (last - first) / (ended - began) if ended > began else None

    def seconds_left(self, total: int | None) -> float | None:
        """Until step `total`. None if the total is unknown, or there are fewer than two readings."""
        if total is None or len(self._readings) < 2:
            return None
        (first, began), (last, ended) = self._readings[0], self._readings[-1]
        return max(0, total - last) * (ended - began) / (last - first)
