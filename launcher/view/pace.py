"""How fast a run makes its steps, and how long the rest of them takes."""

import time
from collections import deque
from collections.abc import Callable

REMEMBERED = 20  # readings; the pace of a run changes, an evaluation or a checkpoint is not to change it much


class Pace:
    """The newest readings of a run's step, each with its time. A step that goes back begins anew, as after a resume."""

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
        """Until step `total`; None when that is not known, or the pace is not yet."""
        if total is None or len(self._readings) < 2:
            return None
        (first, began), (last, ended) = self._readings[0], self._readings[-1]
        return max(0, total - last) * (ended - began) / (last - first)
