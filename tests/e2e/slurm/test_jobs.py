"""Real jobs of one node in a real Slurm, from the login node's side."""

import json
import os
import signal

import pytest

from tests.e2e.slurm.submitting import Login
from tests.waiting import until

pytestmark = pytest.mark.slow

PATIENT = "import signal\nprint('is there', flush=True)\nsignal.pause()"
KEEPS_A_CHECKPOINT = """
import os, pathlib, signal
def stop(*_):
    pathlib.Path("kept").write_text("step")
    print("kept", flush=True)
    raise SystemExit(0)
signal.signal(signal.SIGTERM, stop)
print("is there", flush=True)
if os.environ["LAUNCH_ATTEMPT"] == "1":
    while True:
        signal.pause()
assert pathlib.Path("kept").exists()
"""


def words(login: Login, *more: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(login.type("status", "run", "--json", *more))
    return found


def test_an_sft_job_trains_in_a_directory_of_any_name_and_is_completed(login: Login) -> None:
    name = 'it\'s a "run" $(touch hacked) \n é'
    run = login.submit("sft", "--max-steps", "5", "--slurm.time", "10", directory=name)
    run.ends_as("COMPLETED", "0:0")
    state = run.state()
    assert (state.state, state.exit_code, state.attempt) == ("finished", 0, 1)
    assert state.tmux_session is None
    assert "step 5/5" in login.type("logs", str(run.run.root))
    assert "the run has ended with exit code 0" in run.log()
    assert not (login.directory / "hacked").exists()


def test_an_rl_job_runs_all_its_components_on_one_node(login: Login) -> None:
    run = login.submit("rl", "--max-steps", "2", "--slurm.time", "10")
    run.ends_as("COMPLETED", "0:0")
    state = run.state()
    assert state.state == "finished", run.log()
    assert {process.name for process in state.processes} == {"trainer", "orchestrator", "inference"}


def test_a_rank_that_is_killed_fails_the_job_with_its_block_in_the_logs(login: Login) -> None:
    run = login.script(PATIENT, "--nproc", "2", "--slurm.setup", "export SETUP_RAN=yes")
    run.wait_for_line("is there")
    until(lambda: all(rank.process for rank in run.state().processes[0].ranks))
    rank = run.state().processes[0].ranks[1].process
    assert rank is not None
    assert b"SETUP_RAN=yes" in (run.run.root / f"/proc/{rank.pid}/environ").read_bytes()
    os.kill(rank.pid, signal.SIGKILL)
    run.ends_as("FAILED", "1:0")
    assert "FAILED  trainer rank 1" in run.log()
    assert "FAILED  trainer rank 1" in run.run.launcher_log.read_text()
    assert words(login)["state"] == "failed"


def test_a_job_that_is_cancelled_says_so_and_is_not_called_a_failure(login: Login) -> None:
    run = login.script(PATIENT)
    run.wait_for_line("is there")
    login.cluster.ask("scancel", run.job)
    state = run.wait_for("stopped", "failed")
    assert (state.state, state.exit_code, state.reason, state.failure) == ("stopped", 143, "cancelled", None)
    login.cluster.wait_for(run.job, "CANCELLED")
    assert words(login)["state"] == "cancelled"


def test_launch_stop_ends_a_running_job_and_leaves_nothing(login: Login) -> None:
    run = login.script(PATIENT)
    run.wait_for_line("is there")
    assert words(login)["state"] == "running"
    assert "its processes have ended" in login.type("stop", "run")
    assert not login.alive()
    login.cluster.wait_for(run.job, "CANCELLED")


def test_a_queued_job_is_shown_with_slurms_reason_refused_a_resume_and_stopped(login: Login) -> None:
    run = login.script(PATIENT, "--slurm.extra=--hold")
    status = words(login)
    assert (status["state"], status["reason"], status["job"]) == ("queued", "JobHeldUser", run.job)
    assert "JobHeldUser" in login.type("status", "--all")
    assert "is queued" in login.type("resume", "run", code=2)
    assert "kept: queued" in login.type("clean", "run", "--delete")
    assert "its processes have ended" in login.type("stop", "run")
    assert words(login)["state"] == "cancelled"
    assert run.state().state == "stopped"


def test_a_job_that_was_cancelled_in_the_queue_can_be_submitted_again(login: Login) -> None:
    run = login.script(PATIENT, "--slurm.extra=--hold")
    login.cluster.ask("scancel", run.job)
    login.cluster.wait_for(run.job, "CANCELLED")
    assert "submitted as job" in login.type("resume", "run")
    assert words(login)["state"] == "queued"
    assert run.state().attempt == 2
    assert "its processes have ended" in login.type("stop", "run")


def test_a_run_json_that_names_another_runs_job_has_it_left_alone(login: Login) -> None:
    precious = login.script(PATIENT, "--slurm.extra=--hold")
    forged = login.submit("sft", "--slurm.extra=--hold", directory="forged")
    text = forged.run.state.read_text()
    forged.run.state.write_text(text.replace(f'"job": "{forged.job}"', f'"job": "{precious.job}"'))
    said = login.type("stop", "forged", code=2)
    assert f"job {precious.job} is not this run's: it is root's, called {precious.state().name}" in said
    assert login.cluster.job(precious.job)["JobState"] == "PENDING"
    forged.run.state.write_text(text)
    assert "its processes have ended" in login.type("stop", "forged")
    login.cluster.wait_for(forged.job, "CANCELLED")


def test_the_logs_of_a_job_that_is_cancelled_in_the_queue_end(login: Login) -> None:
    run = login.script(PATIENT, "--slurm.extra=--hold")
    following = login("logs", "run", "-f")
    until(lambda: following.process.poll() is None and login.alive())
    login.cluster.ask("scancel", run.job)
    assert following.exit_code() == 0
    assert "1 run of 1 goes" in login.type("clean", "run", "--delete")
    assert not run.run.root.exists()


def test_what_slurm_refuses_leaves_no_run(login: Login) -> None:
    text = login.type("sft", "--slurm", "--slurm.partition", "nowhere", "--output-dir", "run", code=2)
    assert "sbatch has refused the job" in text
    assert not (login.directory / "run").exists()


@pytest.mark.timeout(400)
def test_the_time_limit_stops_the_run_with_a_checkpoint_and_it_goes_on_as_the_next_attempt(login: Login) -> None:
    # Slurm may send the signal up to a minute early: with a limit of one minute, before the script is there.
    limit = ("--slurm.time", "2", "--slurm.signal-lead", "40s", "--slurm.requeue")
    run = login.script(KEEPS_A_CHECKPOINT, *limit)
    run.wait_for_line("is there")
    run.wait_for_line("kept", seconds=150)
    run.wait_for("finished", attempt=2, seconds=120)
    run.ends_as("COMPLETED", "0:0")
    (first,) = run.state().earlier
    assert (first.state, first.reason, first.exit_code) == ("stopped", "time limit", 138)
    assert "the time limit is near" in run.log()
    assert "attempt 1 stopped (time limit)" in login.type("status", "run")
