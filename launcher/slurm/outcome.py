"""`python -m launcher.slurm.outcome DIR CODE`: prints the job's exit code, where a run may outlive one of its nodes.

srun's CODE is then also that of a launch that was lost. The run's own is node 0's.
"""

import os
import sys
from pathlib import Path

from launcher.rundir import RunDir
from launcher.runs.state import RunState, read_state
from launcher.slurm import client


def outcome(run: RunDir, job: str, code: str) -> str:
    """The exit code with which the run has ended in this job; `code` if it has not ended."""
    state = state_in_job(run, job)
    return code if state is None or state.ended is None or state.exit_code is None else str(state.exit_code)


def state_in_job(run: RunDir, job: str) -> RunState | None:
    """What node 0 has written since Slurm started this job, or started it again."""
    state = read_state(run)
    found = state.slurm if state else None
    return state if found and (found.job, found.restarts) == (job, client.restarts()) else None


if __name__ == "__main__":
    print(outcome(RunDir(Path(sys.argv[1])), os.environ.get("SLURM_JOB_ID", ""), sys.argv[2]))
