"""Waits for events that nobody announces, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(probe: Callable[[], Found], deadline: float = 60.0) -> Found:
    """The first true answer of `probe`; an AssertionError with the last one after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not (answer := probe()):
        assert time.monotonic() < end, f"not within {deadline} s, the last answer was {answer!r}"
        time.sleep(0.01)
    return answer
