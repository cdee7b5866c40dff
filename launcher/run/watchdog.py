"""Whether anything in a run still moves: its logs, its ranks' logs, its metrics."""

import time
from collections.abc import Iterator
from pathlib import Path

from launcher.plan.spec import Plan

LOOKS = 20  # in the time that a run may be silent


class Watchdog:
    """Remembers what the files looked like; clocks that jump do not matter, since only changes count."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._last = self._look()
        self._changed = time.monotonic()

    def silence(self) -> float:
        """Seconds since a look last found something new."""
        now = self._look()
        if now != self._last:
            self._last, self._changed = now, time.monotonic()
        return time.monotonic() - self._changed

    def _look(self) -> dict[Path, tuple[int, int]]:
        found = {}
        for path in self._files():
            try:
                status = path.stat()
            except OSError:
                continue
            found[path] = (status.st_size, status.st_mtime_ns)
        return found

    def _files(self) -> Iterator[Path]:
        for spec in self.plan.processes:
            yield from (spec.log, self.plan.run.metrics(spec.name), *spec.rank_logs)
            if spec.ranks:
                yield from spec.ranks.directory.glob("attempt_*/*/std*.log")
