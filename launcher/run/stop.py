"""Ending a run from outside: `launch stop`."""

import os
import select
import shlex
import signal
import time
from contextlib import ExitStack, suppress

from launcher.errors import UserError
from launcher.home import user_name
from launcher.run.liveness import is_local, living_processes
from launcher.run.on_exit import SECONDS as ON_EXIT_SECONDS
from launcher.run.processes import kill_quietly, owner
from launcher.run.state import ProcessId, RunState, read_state
from launcher.run.survivors import end_survivors
from launcher.rundir import RunDir

MARGIN = 10.0  # seconds beyond the grace until what is left is killed from here


def stop(run: RunDir, grace: float | None = None, now: bool = False) -> RunState:
    """Ask the run to end and return its last state when nothing of it is left; a run that has ended is no error.

    Args:
        grace: seconds until it is forced to; by default the run's own grace.
        now: do not ask.

    Raises:
        UserError: the run is not one of this host or another user's, or a process of it cannot be ended.
    """
    state = _read(run)
    if not is_local(state):
        raise UserError(
            f"{state.name} runs on {state.host}", f"on {state.host}, type: launch stop {shlex.quote(str(run.root))}"
        )
    living = living_processes(state)
    check_mine(run, state)
    launchers = [living[name] for name in ("guard", "supervisor") if name in living]
    if launchers:
        _ask(launchers, state.grace if grace is None else grace, now, forced_early=grace is not None)
    _kill(living_processes(_read(run)))
    end_survivors(run)
    return _read(run)


def check_mine(run: RunDir, state: RunState) -> None:
    """Raises UserError when processes of the run are another user's, which only root may end."""
    processes = living_processes(state).values()
    others = {uid for process in processes if (uid := owner(process.pid)) not in (None, os.geteuid())}
    if not others or os.geteuid() == 0:
        return
    whose = user_name(others.pop())
    who = "root" if whose == "root" else f"{whose} or root"
    raise UserError(
        f"{state.name} is a run of another user, {whose}", f"as {who}, type: launch stop {shlex.quote(str(run.root))}"
    )


def _read(run: RunDir) -> RunState:
    state = read_state(run)
    if state is None:
        raise UserError(f"{run.root}: run.json cannot be read")
    return state


def _ask(launchers: list[ProcessId], grace: float, now: bool, forced_early: bool) -> None:
    """SIGTERM to the first, and SIGQUIT when the grace is over: that one does not wait."""
    with ExitStack() as stack:
        descriptors = []
        for launcher in launchers:
            with suppress(ProcessLookupError):
                descriptors.append(os.pidfd_open(launcher.pid))
                stack.callback(os.close, descriptors[-1])
        if not descriptors:
            return
        if not now:
            _send(descriptors, signal.SIGTERM)
            if _ends_within(descriptors[0], grace if forced_early else grace + MARGIN):
                return
        _send(descriptors, signal.SIGQUIT)
        _ends_within(descriptors[0], MARGIN + ON_EXIT_SECONDS)  # what --on-exit does belongs to the run


def _send(descriptors: list[int], number: signal.Signals) -> None:
    """To the first one, then wake all: Ctrl-Z stops the guard, a cluster's suspend or a debugger the supervisor."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptors[0], number)
    for descriptor in descriptors:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGCONT)


def _ends_within(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def _kill(processes: dict[str, ProcessId]) -> None:
    """What was not ended, or outlived its supervisor; those above it last, since they kill what nobody has named."""
    above = [processes.pop(name) for name in ("watcher", "guard") if name in processes]
    _kill_all(list(processes.values()))
    for process in above:
        if not _is_gone(process, MARGIN):
            _kill_all([process])


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
