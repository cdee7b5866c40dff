"""Ending a run from outside: `launch stop`."""

import os
import select
import shlex
import signal
import time
from contextlib import ExitStack, suppress

from launcher.errors import UserError
from launcher.run.liveness import is_local, living_processes
from launcher.run.on_exit import SECONDS as ON_EXIT_SECONDS
from launcher.run.processes import kill_quietly
from launcher.run.state import ProcessId, RunState, read_state
from launcher.rundir import RunDir

MARGIN = 10.0  # seconds beyond the grace until what is left is killed from here


def stop(run: RunDir, grace: float | None = None, now: bool = False) -> RunState:
    """Ask the run to end and return its last state when nothing of it is left; a run that has ended is no error.

    Args:
        grace: seconds until it is forced to; by default the run's own grace.
        now: do not ask.

    Raises:
        UserError: the run is not one of this host.
    """
    state = _read(run)
    if not is_local(state):
        raise UserError(
            f"{state.name} runs on {state.host}", f"on {state.host}, type: launch stop {shlex.quote(str(run.root))}"
        )
    ask = living_processes(state)
    launcher = ask.get("guard") or ask.get("supervisor")
    if launcher:
        _ask(launcher, state.grace if grace is None else grace, now, forced_early=grace is not None)
    _kill(living_processes(_read(run)))
    return _read(run)


def _read(run: RunDir) -> RunState:
    state = read_state(run)
    if state is None:
        raise UserError(f"{run.root}: run.json cannot be read")
    return state


def _ask(launcher: ProcessId, grace: float, now: bool, forced_early: bool) -> None:
    """SIGTERM, and SIGQUIT when the grace is over: that one does not wait."""
    with ExitStack() as stack:
        try:
            descriptor = os.pidfd_open(launcher.pid)
        except ProcessLookupError:
            return
        stack.callback(os.close, descriptor)
        if not now:
            _send(descriptor, signal.SIGTERM)
            _send(descriptor, signal.SIGCONT)  # the guard is stopped if somebody has typed Ctrl-Z
            if _ends_within(descriptor, grace if forced_early else grace + MARGIN):
                return
        _send(descriptor, signal.SIGQUIT)
        _ends_within(descriptor, MARGIN + ON_EXIT_SECONDS)  # what --on-exit does belongs to the run


def _send(descriptor: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def _ends_within(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def _kill(processes: dict[str, ProcessId]) -> None:
    """What was not ended, or outlived its supervisor; the guard last, since it kills what nobody has named."""
    guard = processes.pop("guard", None)
    _kill_all(list(processes.values()))
    if guard and not _is_gone(guard, MARGIN):
        _kill_all([guard])


def _kill_all(processes: list[ProcessId]) -> None:
    for process in processes:
        kill_quietly(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + MARGIN
    for process in processes:
        _is_gone(process, max(0.0, deadline - time.monotonic()))


def _is_gone(process: ProcessId, seconds: float) -> bool:
    """Whether it ends within so many seconds."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        return _ends_within(descriptor, seconds)
    finally:
        os.close(descriptor)
