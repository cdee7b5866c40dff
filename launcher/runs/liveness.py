"""Tells whether a run is really active. Its state file may be older than a SIGKILL or a reboot."""

import platform
import time
from typing import Literal

from launcher.processes.identity import ProcessId, boot_id, is_alive
from launcher.rundir import RunDir
from launcher.runs.state import RunState, other_nodes

HEARTBEAT = 10.0  # seconds between heartbeats


GIVEN_UP = 300.0  # seconds of silence after which another host's run may be resumed here (a dead node, a lost pod)
SILENCE = 3 * HEARTBEAT  # seconds after which a supervisor on another host counts as silent

GOING_ON = ("queued", "starting", "running", "stopping")

TrueState = Literal[
    "queued",
    "starting",
    "running",
    "stopping",
    "finished",
    "failed",
    "stopped",
    "died",
    "silent",
    "cancelled",
    "timed out",
    "preempted",
]
"""The last three come from Slurm, for a run that could not report its end; see launcher.jobs.jobs."""


def true_state(run: RunDir, state: RunState) -> TrueState:
    """The state as it is now: "died" if the supervisor was lost without a report, by SIGKILL or a reboot.

    For a run on another host, only the heartbeat on the shared file system is known: "silent" when it has stopped.
    """
    if state.state not in GOING_ON or state.state == "queued":
        return state.state
    if not is_local(state):
        return state.state if last_seen(run) < SILENCE else "silent"
    supervisor = state.supervisor or state.guard
    return state.state if supervisor and is_alive_here(state, supervisor) else "died"


def is_local(state: RunState) -> bool:
    """Whether the run was started on this host."""
    return state.host == platform.node()


def of_this_host(run: RunDir, state: RunState) -> tuple[RunDir, RunState]:
    """The run as seen by the node on this host. Without one, the given arguments."""
    if is_local(state):
        return run, state
    return next(((other, its) for other, its in other_nodes(run, state) if is_local(its)), (run, state))


def is_alive_here(state: RunState, process: ProcessId) -> bool:
    """Whether a process of the run is alive. False for any process from before this host's last boot."""
    return state.boot_id == boot_id() and is_alive(process)


def last_seen(run: RunDir) -> float:
    """Seconds since the supervisor last touched run.json."""
    try:
        return max(0.0, time.time() - run.state.stat().st_mtime)
    except OSError:
        return float("inf")


def living_processes(state: RunState) -> dict[str, ProcessId]:
    """The run's processes that are alive on this host, by name: "guard", "trainer", "trainer rank 0"…"""
    known = state.own_processes() | state.component_processes()
    return {name: found for name, found in known.items() if found and is_alive_here(state, found)}
