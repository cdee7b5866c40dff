"""Real jobs of two nodes. Both slurmd are on one host, so nothing of the two may clash there, ports least of all."""

import os
import signal

import pytest

from tests.e2e.slurm.submitting import Login
from tests.waiting import until

pytestmark = pytest.mark.slow

PATIENT = "import signal\nprint('is there', flush=True)\nsignal.pause()"
ON_NODE = """
import os, time
print("is there", flush=True)
while os.environ["RANK"] == "0" or not os.path.exists("fail"):
    time.sleep(0.05)
raise RuntimeError("fails on node 1")
"""


def test_an_sft_job_trains_over_two_nodes(login: Login) -> None:
    run = login.submit("sft", "--max-steps", "5", "--slurm.nodes", "2", "--slurm.time", "10")
    run.ends_as("COMPLETED", "0:0")
    assert run.state().state == "finished", run.log()
    assert "step 5/5" in login.type("logs", "run")


def test_an_rl_job_serves_on_a_node_of_its_own(login: Login) -> None:
    run = login.submit("rl", "--max-steps", "2", "--inference.nodes", "1", "--slurm", "--slurm.time", "10")
    run.ends_as("COMPLETED", "0:0")
    assert run.state().state == "finished", run.log()


def test_a_rank_that_fails_on_the_other_node_fails_the_job_with_its_words(login: Login) -> None:
    run = login.script(ON_NODE, "--slurm.nodes", "2")
    run.wait_for_line("is there")
    (login.directory / "fail").touch()
    run.ends_as("FAILED", "1:0")
    failure = run.wait_for("failed").failure
    assert failure is not None
    assert (failure.node, failure.rank) == (1, 1)
    assert "fails on node 1" in failure.text


def test_a_rank_that_is_killed_on_the_first_node_ends_both(login: Login) -> None:
    run = login.script(PATIENT, "--slurm.nodes", "2")
    run.wait_for_line("is there")
    until(lambda: run.state().processes[0].ranks[0].process)
    rank = run.state().processes[0].ranks[0].process
    assert rank is not None
    os.kill(rank.pid, signal.SIGKILL)
    run.ends_as("FAILED", "1:0")
    assert run.state().state == "failed"


def test_both_nodes_of_a_job_begin_the_next_attempt_when_a_rank_is_killed(login: Login) -> None:
    first_waits = PATIENT.replace("signal.pause()", 'os.environ["LAUNCH_ATTEMPT"] == "1" and signal.pause()')
    run = login.script(f"import os\n{first_waits}", "--slurm.nodes", "2", "--max-restarts", "1")
    run.wait_for_line("is there")
    until(lambda: run.of_node(1).processes[0].ranks[0].process)
    rank = run.of_node(1).processes[0].ranks[0].process
    assert rank is not None
    os.kill(rank.pid, signal.SIGKILL)
    run.ends_as("COMPLETED", "0:0")
    assert [(run.of_node(node).state, run.of_node(node).attempt) for node in (0, 1)] == [("finished", 2)] * 2


def test_launch_stop_ends_both_nodes(login: Login) -> None:
    run = login.script(PATIENT, "--slurm.nodes", "2")
    run.wait_for_line("is there")
    assert "its processes have ended" in login.type("stop", "run")
    assert not login.alive()
    assert [run.of_node(node).state for node in (0, 1)] == ["stopped", "stopped"]


@pytest.mark.timeout(500)
def test_the_time_limit_stops_both_nodes_and_the_requeued_job_goes_on(login: Login) -> None:
    train = ("--max-steps", "100000", "--trainer.checkpoint.interval", "0", "--grace", "15s")
    limits = ("--slurm.time", "2", "--slurm.signal-lead", "60s", "--slurm.requeue")  # a minute to import and to begin
    run = login.submit("sft", *train, "--slurm.nodes", "2", *limits)
    run.wait_for("running", attempt=2, seconds=300)
    run.wait_for_line("continuing from", attempt=2)
    assert "its processes have ended" in login.type("stop", "run")
    for node in (0, 1):
        (first,) = run.of_node(node).earlier
        assert (first.state, first.reason, first.exit_code) == ("stopped", "time limit", 138)
