"""What the console writes to: a pipe or a file gets lines, a terminal also colours and progress."""

import sys
from typing import Any


class Screen:
    """A pipe or a file: only lines."""

    def line(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")

    def flush(self) -> None:
        """Flush once for many lines. Otherwise a flood takes a whole core, which the workers need."""
        sys.stdout.flush()

    def last_words(self, text: str) -> str:
        return text

    def progress(self, step: dict[str, Any]) -> None:
        """Does nothing: only a terminal has a progress line."""

    def close(self) -> None:
        sys.stdout.flush()
