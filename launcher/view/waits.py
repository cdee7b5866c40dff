"""What a run waits for, in words."""

import time
from collections.abc import Iterable

from launcher.run.waits import Wait
from launcher.screen import in_one_line
from launcher.view.report import duration


def waits_text(waits: Iterable[Wait], now: float | None = None) -> str:
    """ "orchestrator waits for weights 12 since 40 s; trainer waits for batch 13 since 38 s"; empty without waits."""
    now = time.time() if now is None else now
    told = (f"{wait.component} waits for {wait.what} since {_since(now - wait.since)}" for wait in waits)
    return in_one_line("; ".join(told))


def _since(seconds: float) -> str:
    return f"{max(0.0, seconds):.0f} s" if seconds < 100 else duration(seconds)
