"""What the components of a run wait for, as they say themselves."""

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import Field, ValidationError

from launcher.run.state import ProcessId, boot_id, is_alive
from launcher.rundir import RunDir

LARGEST = 1 << 12  # bytes
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Wait:
    component: str
    what: str  # "weights 12"
    since: float  # seconds since the epoch


class _Record(ProcessId):
    what: str
    since: float = Field(gt=0, lt=1 << 32, allow_inf_nan=False)
    boot_id: str


def read_waits(run: RunDir, components: Iterable[str]) -> list[Wait]:
    """Who waits for what, the longest wait first; what a process has left that is gone does not count."""
    found = [wait for component in components if (wait := _read(run, component)) is not None]
    return sorted(found, key=lambda wait: wait.since)


def _read(run: RunDir, component: str) -> Wait | None:
    try:
        record = _Record.model_validate_json(_content(run, component))
    except (OSError, ValidationError):
        return None
    is_here = record.boot_id == boot_id()
    if is_here and not is_alive(record):
        return None
    return Wait(component, _CONTROL.sub("?", record.what)[:200], record.since)


def _content(run: RunDir, component: str) -> bytes:
    """Of a regular file, and of nothing that could hold us up. Raises OSError."""
    descriptor = os.open(run.wait(component), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, LARGEST) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)
