"""`python -m launcher.slurm.outcome DIR CODE`: prints the job's exit code, where a run may outlive one of its nodes.

srun's CODE is then also that of a launch that was lost. The run's own is node 0's.
"""

import os
import sys
from pathlib import Path

from launcher.rundir import RunDir
from launcher.runs.state import read_state


def outcome(run: RunDir, job: str, code: str) -> str:
    """The exit code with which the run has ended in this job; `code` if it has not ended."""
    state = read_state(run)
    is_ours = state is not None and state.job is not None and state.job.job == job
    if state is None or not is_ours or state.ended is None or state.exit_code is None:
        return code
    return str(state.exit_code)


if __name__ == "__main__":
    print(outcome(RunDir(Path(sys.argv[1])), os.environ.get("SLURM_JOB_ID", ""), sys.argv[2]))
