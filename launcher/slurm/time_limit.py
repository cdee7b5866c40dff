"""`python -m launcher.slurm.time_limit DIR`: tells a run on this node that Slurm's time limit is near.

Slurm signals only the batch script: a signal to the job step would reach and kill every process of the run.
"""

import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from launcher.processes.identity import ProcessId
from launcher.processes.proof import open_proven
from launcher.rundir import RunDir
from launcher.runs.liveness import is_alive_here, is_local
from launcher.runs.state import read_state

PATIENCE = 20.0  # seconds to wait for a run that is just starting


def main() -> int:
    """Returns 0 if the run was told."""
    run, deadline = RunDir(Path(sys.argv[1])), time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        supervisor = listening(run)
        descriptor = open_proven(run, supervisor) if supervisor else None
        if descriptor is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGUSR1)
            print("the time limit is near: the run has been asked to stop", flush=True)
            return 0
        time.sleep(0.1)
    print("the time limit is near, but no run is active here", flush=True)
    return 1


def listening(run: RunDir) -> ProcessId | None:
    """The run's supervisor, if it is alive and handles signals."""
    state = read_state(run)
    if state is None or state.state not in ("running", "stopping") or not is_local(state):
        return None
    supervisor = state.supervisor
    return supervisor if supervisor and is_alive_here(state, supervisor) else None


if __name__ == "__main__":
    sys.exit(main())
