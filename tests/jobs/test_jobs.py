"""What run.json and Slurm say of a job, put together."""

from pathlib import Path

import pytest

from launcher.jobs.jobs import Known, known_state
from launcher.rundir import RunDir
from launcher.runs.state import RunState, SlurmState
from launcher.slurm.client import Job
from tests.states import state_of


def state(word: str, reason: str | None = None) -> RunState:
    return state_of(RunDir(Path("/otter")), state=word, reason=reason, started=0.0, slurm=SlurmState(job="7"))


@pytest.mark.parametrize(
    ("written", "slurm", "known"),
    [
        (state("queued"), Job("PENDING", "Resources"), Known("queued", "Resources")),
        (state("queued"), Job("RUNNING"), Known("starting")),
        (state("queued"), Job("CANCELLED"), Known("cancelled", "Slurm: CANCELLED")),
        (state("queued"), None, Known("died", "Slurm no longer knows its job")),
        (state("running"), Job("TIMEOUT"), Known("timed out", "Slurm: TIMEOUT")),
        (state("running"), Job("NODE_FAIL"), Known("failed", "Slurm: NODE_FAIL")),
        (state("running"), Job("PREEMPTED"), Known("preempted", "Slurm: PREEMPTED")),
        (state("stopped", "cancelled"), Job("CANCELLED"), Known("cancelled")),
        (state("stopped", "preempted"), Job("CANCELLED"), Known("preempted")),
        (state("stopped", "time limit"), Job("TIMEOUT"), Known("stopped", "time limit")),
        (
            state("stopped", "time limit"),
            Job("PENDING", "BeginTime"),
            Known("queued", "BeginTime; time limit in attempt 1"),
        ),
        (state("failed"), Job("FAILED"), Known("failed")),
        (state("finished"), Job("COMPLETED"), Known("finished")),
        (state("stopped", "time limit"), None, Known("stopped", "time limit")),
    ],
)
def test_together_they_say(tmp_path: Path, written: RunState, slurm: Job | None, known: Known) -> None:
    assert known_state(RunDir(tmp_path), written, {"7": slurm} if slurm else {}) == known
