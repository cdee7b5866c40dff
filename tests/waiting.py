"""Waits for events that nobody announces, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
PATIENCE = 120.0  # seconds: what does not come in this time, on a machine that is slow and busy, never comes


def until(probe: Callable[[], Found], deadline: float = PATIENCE) -> Found:
    """The first true answer of `probe`; an AssertionError with the last one after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not (answer := probe()):
        assert time.monotonic() < end, f"not within {deadline} s, the last answer was {answer!r}"
        time.sleep(0.01)
    return answer
