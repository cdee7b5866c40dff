"""`python -m launcher.slurm.lost_nodes DIR PID`: ends srun (PID) if it waits for a dead node after the run has ended.

Slurm gives up a dead node after SlurmdTimeout, usually five minutes. Until then srun would wait, and the job would
keep all its nodes.
"""

import os
import select
import signal
import sys
from pathlib import Path

from launcher.processes.process_tree import children
from launcher.rundir import RunDir
from launcher.runs.liveness import is_alive_here, is_local
from launcher.runs.state import RunState
from launcher.slurm.outcome import state_in_job

LOOK = 2.0  # seconds between two looks at run.json
LINGER = 15.0  # seconds for the other nodes, once node 0's launch is gone


def main() -> int:
    """Returns 0 when srun has ended by itself, and 1 if it had to be ended."""
    run, job, pid = RunDir(Path(sys.argv[1])), os.environ.get("SLURM_JOB_ID", ""), int(sys.argv[2])
    try:
        srun = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0
    if pid not in children(os.getppid()):  # srun has ended already, and another process has its pid
        return 0
    while not _has_ended(srun, LOOK):
        state = state_in_job(run, job)
        if state and is_over(state):
            return 0 if _has_ended(srun, LINGER) else _end(srun)
    return 0


def is_over(state: RunState) -> bool:
    """Whether the launch of node 0, which is the last to end, is gone."""
    if not is_local(state):  # the batch script is on another machine than node 0
        return state.ended is not None
    known = [process for process in (state.guard, state.supervisor) if process]
    return bool(known) and not any(is_alive_here(state, process) for process in known)


def _has_ended(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def _end(srun: int) -> int:
    print(f"srun still waits for a lost node {LINGER:g}s after the run: it is ended", flush=True)
    signal.pidfd_send_signal(srun, signal.SIGKILL)  # at SIGTERM it would wait further
    return 1


if __name__ == "__main__":
    sys.exit(main())
