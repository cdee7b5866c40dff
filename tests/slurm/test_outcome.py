"""The exit code of a job whose run has outlived a node."""

from pathlib import Path

import pytest

from launcher.rundir import RunDir
from launcher.runs.state import SlurmState, state_json
from launcher.slurm.outcome import outcome
from tests.states import state_of


def write(run: RunDir, **facts: object) -> None:
    state = state_of(run, **facts)
    state.put_job(SlurmState(job="7"))
    run.state.write_text(state_json(state))


def test_it_is_the_runs_and_not_that_of_a_lost_launch(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write(run, exit_code=0)
    assert outcome(run, "7", "137") == "0"
    write(run, state="failed", exit_code=1)
    assert outcome(run, "7", "137") == "1"


def test_a_run_that_has_not_ended_in_this_job_leaves_sruns(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert outcome(run, "7", "2") == "2"
    write(run, state="running")
    assert outcome(run, "7", "137") == "137"
    write(run, exit_code=0)
    assert outcome(run, "8", "75") == "75"


def test_the_end_before_a_requeue_is_not_that_of_the_job_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(tmp_path)
    write(run, state="stopped", exit_code=138)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert outcome(run, "7", "2") == "2"
