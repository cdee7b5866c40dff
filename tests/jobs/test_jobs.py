"""What run.json and Slurm say of a job, put together."""

import os
import time
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.jobs import jobs
from launcher.jobs.jobs import Known, check_ended, known_state, stop_job
from launcher.rundir import RunDir
from launcher.runs.state import RunState, SlurmState, read_state
from launcher.slurm.client import Job, comment_of
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


SQUEUE = """#!/bin/sh
test -e cancelled && exit
case "$*" in
*%u*) echo '{row}' ;;
*) echo '7|RUNNING|None' ;;
esac
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run on another host, whose job the Slurm asked from here does not know."""
    run = RunDir(tmp_path / "otter")
    run.root.mkdir()
    (tmp_path / "bin").mkdir()
    program(tmp_path, "squeue", "#!/bin/sh\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(jobs, "SILENCE", 0.5)
    written(run, "running")
    return run


def program(here: Path, name: str, text: str) -> None:
    (here / "bin" / name).write_text(text)
    (here / "bin" / name).chmod(0o755)


def written(run: RunDir, word: str, reason: str | None = None) -> RunState:
    state = state_of(run, state=word, reason=reason, slurm=SlurmState(job="7"), host="gpu01")
    run.state.write_text(state.model_dump_json())
    return state


def word_of(run: RunDir) -> str:
    state = read_state(run)
    assert state is not None
    return state.reason or state.state


def test_a_run_that_is_alive_is_not_called_cancelled_because_its_job_is_unknown_here(elsewhere: RunDir) -> None:
    with pytest.raises(UserError, match="otter is alive on gpu01, and the Slurm asked from here does not know its job"):
        stop_job(elsewhere, written(elsewhere, "running"), None, now=False)
    assert word_of(elsewhere) == "running"


def test_a_run_that_ends_by_itself_while_it_is_stopped_keeps_its_end(elsewhere: RunDir) -> None:
    before = written(elsewhere, "running")
    written(elsewhere, "finished")
    assert stop_job(elsewhere, before, None, now=False).state.state == "finished"
    assert word_of(elsewhere) == "finished"


def test_a_silent_run_whose_job_is_unknown_is_cancelled(elsewhere: RunDir) -> None:
    state, long_ago = written(elsewhere, "running"), time.time() - 100
    os.utime(elsewhere.state, (long_ago, long_ago))
    assert stop_job(elsewhere, state, None, now=False).state.reason == "cancelled"
    assert word_of(elsewhere) == "cancelled"


def test_a_run_whose_job_was_killed_here_is_cancelled_without_a_wait(elsewhere: RunDir, tmp_path: Path) -> None:
    program(tmp_path, "squeue", SQUEUE.format(row=f"ann|otter|{comment_of(elsewhere)}"))
    program(tmp_path, "scancel", "#!/bin/sh\ntouch cancelled\n")
    assert stop_job(elsewhere, written(elsewhere, "running"), None, now=False).state.reason == "cancelled"


@pytest.mark.parametrize("word", ["PENDING", "COMPLETING", "RUNNING"])
def test_a_run_that_its_job_will_start_again_is_not_resumed_beside_it(
    elsewhere: RunDir, tmp_path: Path, word: str
) -> None:
    program(tmp_path, "squeue", f"#!/bin/sh\necho '7|{word}|None'\n")
    with pytest.raises(UserError, match=rf"otter is time limit, but job 7 may start it again: {word}\n.*launch stop"):
        check_ended(elsewhere, written(elsewhere, "stopped", "time limit"))


@pytest.mark.parametrize("row", ["7|TIMEOUT|None", ""])
def test_a_run_whose_job_has_ended_too_is_resumed(elsewhere: RunDir, tmp_path: Path, row: str) -> None:
    program(tmp_path, "squeue", f"#!/bin/sh\necho '{row}'\n")
    check_ended(elsewhere, written(elsewhere, "stopped", "time limit"))


def test_a_run_that_is_queued_as_another_job_is_not_begun_by_ours(
    elsewhere: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "LAUNCH_SLURM_JOB"):
        monkeypatch.setenv(name, "8")
    queued = written(elsewhere, "queued")
    program(tmp_path, "squeue", "#!/bin/sh\necho '7|PENDING|None'\n")
    with pytest.raises(UserError, match="otter is queued"):
        check_ended(elsewhere, queued)
    program(tmp_path, "squeue", "#!/bin/sh\necho '7|CANCELLED|None'\n")
    check_ended(elsewhere, queued)  # job.sbatch was submitted again by hand


def test_a_job_on_another_cluster_is_asked_for_and_cancelled_there(elsewhere: RunDir, tmp_path: Path) -> None:
    there = SQUEUE.format(row=f"ann|otter|{comment_of(elsewhere)}").replace("\n", '\necho "$*" >>calls\n', 1)
    program(tmp_path, "squeue", there)
    program(tmp_path, "scancel", '#!/bin/sh\necho "$*" >>calls\ntouch cancelled\n')
    state = written(elsewhere, "running").model_copy(update={"slurm": SlurmState(job="7", cluster="big")})
    elsewhere.state.write_text(state.model_dump_json())
    assert stop_job(elsewhere, state, None, now=False).state.reason == "cancelled"
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "--clusters=big 7" in calls
    assert [call for call in calls if "--clusters=big" not in call] == []


DEAD = """#!/bin/sh
case "$*" in
*%u*) echo '{row}' ;;
*%N*) test -e ended && echo 'n[2-3]' || echo 'n[1-3]' ;;
*) test -e cancelled && echo '7|COMPLETING|None' || echo '7|RUNNING|None' ;;
esac
"""
NODES = """#!/bin/sh
case "$*" in
*"--nodes=n[1-3]"*) touch ended; printf 'n1|completing\\nn2|completing*\\nn3|down*\\n' ;;
*"--nodes=n[2-3]"*) printf 'n2|completing*\\nn2|completing*\\nn3|down*\\n' ;;
esac
"""


@pytest.fixture
def dead(elsewhere: RunDir, tmp_path: Path) -> RunDir:
    """Its job is on n1, n2 and n3. The last two do not answer Slurm, and n1 is done soon after the job is cancelled."""
    program(tmp_path, "squeue", DEAD.format(row=f"ann|otter|{comment_of(elsewhere)}"))
    program(tmp_path, "sinfo", NODES)
    program(tmp_path, "scancel", "#!/bin/sh\ntouch cancelled\n")
    return elsewhere


def test_nodes_that_do_not_answer_slurm_are_not_waited_for_once_the_others_are_done(dead: RunDir) -> None:
    before = written(dead, "running")
    written(dead, "stopped", "cancelled")
    stopped = stop_job(dead, before, None, now=False)
    assert (stopped.silent, stopped.state.reason) == (("n2", "n3"), "cancelled")


def test_the_line_with_the_clusters_name_is_not_taken_for_nodes(dead: RunDir, tmp_path: Path) -> None:
    """squeue of some versions prints it for `--clusters`, also with `--noheader`."""
    headed = (tmp_path / "bin" / "squeue").read_text().replace("\n", "\necho 'CLUSTER: big'\n", 1)
    program(tmp_path, "squeue", headed)
    before = written(dead, "running").model_copy(update={"slurm": SlurmState(job="7", cluster="big")})
    written(dead, "stopped", "cancelled")
    assert stop_job(dead, before, None, now=False).silent == ("n2", "n3")


def test_the_run_of_a_dead_first_node_is_marked_as_cancelled(dead: RunDir) -> None:
    state, long_ago = written(dead, "running"), time.time() - 100
    os.utime(dead.state, (long_ago, long_ago))
    assert stop_job(dead, state, None, now=False).state.reason == "cancelled"
    assert word_of(dead) == "cancelled"


def test_a_run_that_is_alive_on_a_node_without_an_answer_is_not_called_cancelled(dead: RunDir) -> None:
    with pytest.raises(UserError, match="otter is alive on gpu01, and Slurm gets no answer from n2, n3"):
        stop_job(dead, written(dead, "running"), None, now=False)
    assert word_of(dead) == "running"


@pytest.mark.parametrize("nodes", ["", "echo 'n1|completing'", "exit 1"])
def test_a_job_whose_nodes_answer_is_waited_for(
    dead: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: str
) -> None:
    program(tmp_path, "sinfo", f"#!/bin/sh\n{nodes}\n")
    monkeypatch.setattr(jobs, "KILL_WAIT", 2.0)
    with pytest.raises(UserError, match="job 7 is still there after 2s"):
        stop_job(dead, written(dead, "running"), 0.0, now=False)
