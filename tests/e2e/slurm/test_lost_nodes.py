"""Jobs that outlive the loss of a node: a spare takes its place in the same job."""

import os
import signal
from collections.abc import Iterator

import pytest

from launcher.runs.state import SlurmState
from tests.e2e.slurm.cluster import Cluster
from tests.e2e.slurm.submitting import Login, Submitted
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SPARE = ("--slurm.nodes", "2", "--slurm.spare-nodes", "1", "--max-restarts", "1", "--slurm.time", "15")
PATIENT_AT_FIRST = """
import os, signal
print("rank", os.environ["RANK"], "is there", flush=True)
os.environ["LAUNCH_ATTEMPT"] == "1" and signal.pause()
"""


@pytest.fixture
def n2(cluster: Cluster) -> Iterator[str]:
    """The second node, which is whole again when the test has ended its jobs: request it before `login`."""
    yield "n2"
    cluster.repair("n2")


def check_spare_took_over(run: Submitted) -> None:
    """In the same job, which Slurm has not started again."""
    first, spare = run.state(), run.of_node(2)
    assert (first.state, first.attempt, first.slurm) == ("finished", 2, SlurmState(job=run.job)), run.log()
    assert (spare.state, spare.attempt) == ("finished", 2)
    verdict = first.earlier[0].verdict
    assert verdict is not None and verdict.kind == "lost node" and verdict.text.endswith("; node 2 takes its place")
    assert run.login.cluster.job(run.job)["Restarts"] == "0"


def test_a_spare_takes_the_place_of_a_dead_machine_and_continues_from_the_newest_checkpoint(
    n2: str, login: Login
) -> None:
    run = login.submit("sft", "--nproc", "1", "--max-steps", "8", "--trainer.checkpoint.interval", "2", *SPARE)
    run.wait_for_line("step 3/8", seconds=300)
    login.cluster.lose(n2)
    run.wait_for("running", attempt=2)
    login.cluster.give_up(n2)
    run.ends_as("COMPLETED", "0:0", 240)
    check_spare_took_over(run)
    made = run.run.of(2).on(2).component_log("trainer").read_text()
    assert "step 8/8" in made and "step 2/8" not in made


def test_a_job_ends_soon_after_its_run_even_if_slurm_still_waits_for_the_dead_machine(n2: str, login: Login) -> None:
    run = login.script(PATIENT_AT_FIRST, *SPARE)
    run.wait_for_line("is there")
    login.cluster.lose(n2)
    run.ends_as("COMPLETING", "0:0", 180)
    assert "srun still waits for a lost node" in run.log()
    check_spare_took_over(run)


def test_stop_names_the_dead_machine_and_does_not_wait_until_slurm_gives_it_up(n2: str, login: Login) -> None:
    run = login.script("import signal\nprint('is there', flush=True)\nsignal.pause()", "--slurm.nodes", "2")
    run.wait_for_line("is there")
    login.cluster.lose(n2)
    said = login.type("stop", "run", seconds=140)  # less than the grace and KILL_WAIT
    assert "its processes have ended on all nodes that answer Slurm; no answer from n2\n" in said
    assert f"keeps job {run.job} until then; look at: squeue -j {run.job}" in said
    assert login.cluster.job(run.job)["JobState"] in ("COMPLETING", "CANCELLED"), run.log()


def test_a_spare_takes_the_place_of_a_node_whose_launch_is_killed(login: Login) -> None:
    run = login.script(PATIENT_AT_FIRST, *SPARE)
    run.wait_for_line("is there")
    until(lambda: run.of_node(1).processes[0].ranks[0].process, 60)
    state = run.of_node(1)
    for process in (state.own_processes() | state.component_processes()).values():
        if process:
            os.kill(process.pid, signal.SIGKILL)
    run.ends_as("COMPLETED", "0:0", 180)
    check_spare_took_over(run)
