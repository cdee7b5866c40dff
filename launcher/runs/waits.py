"""What the components of a run wait for: their own reports, and other components before their start."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, ValidationError

from launcher.borders.files import read_bytes
from launcher.borders.screen import in_one_line
from launcher.borders.values import Identity, Moment, Phrase
from launcher.numbers import duration
from launcher.processes.identity import ProcessId, boot_id, is_alive
from launcher.rundir import RunDir
from launcher.runs.state import RunState

LARGEST = 1 << 12  # bytes


@dataclass(frozen=True)
class Wait:
    component: str
    what: str  # "weights 12"
    since: float  # seconds since the epoch


class _Record(ProcessId):
    what: Phrase
    since: Annotated[Moment, Field(gt=0)]
    boot_id: Identity


def read_waits(run: RunDir, state: RunState) -> list[Wait]:
    """Which component waits for what on this node, the longest wait first. Reports of dead processes are ignored."""
    return sorted([*_reported(run, state), *_not_started(state)], key=lambda wait: wait.since)


def _reported(run: RunDir, state: RunState) -> Iterator[Wait]:
    return (wait for process in state.processes if (wait := _read(run, process.name)) is not None)


def _not_started(state: RunState) -> Iterator[Wait]:
    unready = {process.name for process in state.processes if process.has_ready_check and process.ready_after is None}
    unready |= {process.name for process in state.processes if process.process is None}
    for process in state.processes:
        awaited = [name for name in process.after if name in unready]
        if process.process is None and awaited:
            yield Wait(process.name, f"{' and '.join(awaited)} to be ready", state.started)


def _read(run: RunDir, component: str) -> Wait | None:
    try:
        record = _Record.model_validate_json(read_bytes(run.wait(component), LARGEST))
    except (OSError, ValidationError):
        return None
    is_here = record.boot_id == boot_id()
    if is_here and not is_alive(record):
        return None
    return Wait(component, in_one_line(record.what)[:200], record.since)


def waits_text(waits: Iterable[Wait], now: float | None = None) -> str:
    """ "orchestrator has waited 40 s for weights 12; trainer has waited 38 s for batch 13"; empty without waits."""
    now = time.time() if now is None else now
    told = (f"{wait.component} has waited {_length(now - wait.since)} for {wait.what}" for wait in waits)
    return in_one_line("; ".join(told))


def _length(seconds: float) -> str:
    return f"{max(0.0, seconds):.0f} s" if seconds < 100 else duration(seconds)
