"""Finds and kills processes that have outlived the launch that started them."""

import os
import select
import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from launcher.errors import UserError
from launcher.processes.identity import ProcessId, boot_id, identify, is_alive
from launcher.processes.process_tree import (
    SWEEP_SECONDS,
    all_pids,
    owner,
    session,
    start_time,
    variables,
    zombie_exit_code,
)
from launcher.processes.proof import STARTED_BY, names, writes_below
from launcher.rundir import RunDir
from launcher.runs.state import RunState, read_state


@dataclass(frozen=True)
class Survivor:
    process: ProcessId
    name: str  # its component and rank, if known


def survivors(run: RunDir) -> list[Survivor]:
    """Processes on this host that were started in this directory by a launch that is now dead.

    Their environment names the directory and the dead supervisor. A process may have overwritten its environment. Then
    it must be in the session of a component or rank in run.json, and also write to a file of the run: run.json alone
    proves nothing. Processes of a living launch, on another node of the run, are not survivors.
    """
    recorded = _recorded(read_state(run))
    found = (_look(pid, run, recorded) for pid in all_pids() if pid != os.getpid())
    return [each for each in found if each is not None]


def end_survivors(run: RunDir) -> list[Survivor]:
    """SIGKILL survivors until none is left. Returns those found. Raises UserError if some do not end."""
    ended: dict[int, Survivor] = {}
    deadline = time.monotonic() + SWEEP_SECONDS
    while found := survivors(run):
        ended |= {each.process.pid: each for each in found}
        if time.monotonic() > deadline:
            raise UserError(
                f"{run.root}: processes of an earlier attempt are alive and cannot be killed: {survivors_text(found)}",
                "nothing was started beside them; see what they wait for with: ps -o pid,user,stat,wchan,args -p "
                + ",".join(str(each.process.pid) for each in found),
            )
        _kill([each.process for each in found], deadline)
    return list(ended.values())


def survivors_text(found: list[Survivor]) -> str:
    """ "trainer (pid 12), trainer rank 0 (pid 13)"; at most eight names."""
    shown = ", ".join(f"{each.name} (pid {each.process.pid})" for each in found[:8])
    return shown if len(found) <= 8 else f"{shown} and {len(found) - 8} more"


def _recorded(state: RunState | None) -> dict[int, Survivor]:
    """The components and ranks in run.json, by pid. Empty if run.json is from another boot or host."""
    if state is None or state.boot_id != boot_id():
        return {}
    return {
        process.pid: Survivor(process, name)
        for name, process in state.component_processes().items()
        if process.start_time
    }


def _look(pid: int, run: RunDir, recorded: dict[int, Survivor]) -> Survivor | None:
    opener = recorded.get(session(pid) or 0)
    environment = variables(pid)
    if STARTED_BY in environment:
        ours = names(run, environment) and _is_gone(environment[STARTED_BY])
    else:
        ours = opener is not None and _has_opened(opener.process, pid) and writes_below(run, pid)
    if not ours or zombie_exit_code(pid) is not None:
        return None
    process = identify(pid)
    if process.start_time is None:
        return None
    return Survivor(process, opener.name if opener else _name(environment))


def _name(environment: dict[str, str]) -> str:
    component, rank = environment.get("LAUNCH_COMPONENT", "a process"), environment.get("RANK")
    return f"{component} rank {rank}" if rank else component


def _is_gone(supervisor: str) -> bool:
    """Whether the supervisor is dead. The text comes from a process's environment, and may be anything."""
    pid, _, started = supervisor.partition(".")
    try:
        return not is_alive(ProcessId(pid=int(pid), start_time=int(started)))
    except ValueError:
        return False


def _has_opened(opener: ProcessId, pid: int) -> bool:
    """Whether exactly this process opened the session of `pid`. Its pid is not reused while the session exists."""
    leader, own = start_time(opener.pid), start_time(pid)
    if own is None or opener.start_time is None or own < opener.start_time or owner(pid) != os.geteuid():
        return False
    return leader in (None, opener.start_time)


def _kill(processes: list[ProcessId], deadline: float) -> None:
    """SIGKILL exactly these processes, then wait for them to end."""
    with ExitStack() as stack:
        killed = []
        for process in processes:
            with suppress(ProcessLookupError, PermissionError):
                descriptor = os.pidfd_open(process.pid)
                stack.callback(os.close, descriptor)
                if is_alive(process):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    killed.append(descriptor)
        for descriptor in killed:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
