"""Ends a run from outside: `launch stop`."""

import os
import select
import signal
import time
from contextlib import ExitStack, suppress

from launcher.borders.screen import quoted
from launcher.errors import UserError
from launcher.home import user_name
from launcher.processes.identity import ProcessId
from launcher.processes.process_tree import owner
from launcher.processes.proof import open_proven, proves_to_be_of
from launcher.rundir import RunDir
from launcher.runs.liveness import is_local, living_processes
from launcher.runs.on_exit import SECONDS as ON_EXIT_SECONDS
from launcher.runs.state import RunState, read_state
from launcher.runs.survivors import Survivor, end_survivors, survivors_text

MARGIN = 10.0  # seconds after the grace until we kill the remaining processes ourselves


def stop(run: RunDir, grace: float | None = None, now: bool = False) -> RunState:
    """Ask the run to end, wait until all its processes are gone, and return its last state.

    A run that has already ended is not an error.

    Args:
        grace: seconds until it is forced to end; by default the run's own grace.
        now: force it at once.

    Raises:
        UserError: the run is on another host or another user's, or a process cannot be killed, or is not proven to
            belong to the run.
    """
    state = _read(run)
    if not is_local(state):
        raise UserError(
            f"{state.name} runs on {state.host}", f"on {state.host}, type: launch stop {quoted(str(run.root))}"
        )
    check_mine(run, state)
    own = own_processes(run, state)
    launchers = [own[name] for name in ("guard", "supervisor") if name in own]
    if launchers:
        _ask(run, launchers, state.grace if grace is None else grace, now, forced_early=grace is not None)
    _kill(run, own_processes(run, _read(run)))
    end_survivors(run)
    after = _read(run)
    _check_all_are_gone(run, after)
    return after


def own_processes(run: RunDir, state: RunState) -> dict[str, ProcessId]:
    """The processes in run.json that are proven to be the run's. Only these are signalled."""
    return {name: each for name, each in living_processes(state).items() if proves_to_be_of(run, each)}


def _check_all_are_gone(run: RunDir, state: RunState) -> None:
    """Raises UserError if run.json names living processes that are not proven to be the run's."""
    living = living_processes(state)
    if not living:
        return
    named = survivors_text([Survivor(process, name) for name, process in living.items()])
    raise UserError(
        f"{state.name}: run.json names processes that are not proven to belong to this run: {named}",
        "nothing was sent to them; see what they are with: ps -o pid,user,stat,args -p "
        + ",".join(str(process.pid) for process in list(living.values())[:8]),
    )


def check_mine(run: RunDir, state: RunState, command: str | None = None) -> None:
    """Raises UserError if processes of the run belong to another user: only root may end them."""
    processes = living_processes(state).values()
    others = {uid for process in processes if (uid := owner(process.pid)) not in (None, os.geteuid())}
    if not others or os.geteuid() == 0:
        return
    whose = user_name(others.pop())
    who = "root" if whose == "root" else f"{whose} or root"
    raise UserError(
        f"{state.name} is a run of another user, {whose}",
        f"as {who}, type: launch {command or f'stop {quoted(str(run.root))}'}",
    )


def _read(run: RunDir) -> RunState:
    state = read_state(run)
    if state is None:
        raise UserError(f"{run.root}: run.json cannot be read")
    return state


def _ask(run: RunDir, launchers: list[ProcessId], grace: float, now: bool, forced_early: bool) -> None:
    """SIGTERM to the first launcher. After the grace, SIGQUIT, which ends the run at once."""
    with ExitStack() as stack:
        descriptors = []
        for launcher in launchers:
            if (descriptor := open_proven(run, launcher)) is not None:
                descriptors.append(descriptor)
                stack.callback(os.close, descriptor)
        if not descriptors:
            return
        if not now:
            _send(descriptors, signal.SIGTERM)
            if _ends_within(descriptors[0], grace if forced_early else grace + MARGIN):
                return
        _send(descriptors, signal.SIGQUIT)
        _ends_within(descriptors[0], MARGIN + ON_EXIT_SECONDS)  # the --on-exit command is part of the run


def _send(descriptors: list[int], number: signal.Signals) -> None:
    """Signal the first process, then wake all: Ctrl-Z stops the guard, a debugger stops the supervisor."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptors[0], number)
    for descriptor in descriptors:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGCONT)


def _ends_within(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def _kill(run: RunDir, processes: dict[str, ProcessId]) -> None:
    """Kill what is still alive. Watcher and guard come last: they kill descendants that run.json does not name."""
    above = [processes.pop(name) for name in ("watcher", "guard") if name in processes]
    _kill_all(run, list(processes.values()), patience=0.0)
    _kill_all(run, above, patience=MARGIN)


def _kill_all(run: RunDir, processes: list[ProcessId], patience: float) -> None:
    """SIGKILL the processes that do not end by themselves within `patience` seconds. Wait for all of them."""
    with ExitStack() as stack:
        descriptors = []
        for process in processes:
            if (descriptor := open_proven(run, process)) is not None:
                descriptors.append(descriptor)
                stack.callback(os.close, descriptor)
        for descriptor in descriptors:
            if not _ends_within(descriptor, patience):
                with suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        deadline = time.monotonic() + MARGIN
        for descriptor in descriptors:
            _ends_within(descriptor, max(0.0, deadline - time.monotonic()))
