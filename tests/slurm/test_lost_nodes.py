"""srun that waits for a dead node when the run has ended: a real process in its place."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.processes.identity import boot_id, identify
from launcher.rundir import RunDir
from launcher.runs.state import SlurmState, state_json
from tests.states import state_of

QUICK = "from launcher.slurm import lost_nodes as its; its.LOOK, its.LINGER = 0.05, 0.2; raise SystemExit(its.main())"


@pytest.fixture
def srun() -> Iterator[subprocess.Popen[bytes]]:
    yield from sleeper()


@pytest.fixture
def launch() -> Iterator[subprocess.Popen[bytes]]:
    """In the place of node 0's launch."""
    yield from sleeper()


def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def write(root: Path, launch: subprocess.Popen[bytes], job: SlurmState) -> None:
    """What run.json says while the run is active."""
    state = state_of(RunDir(root), state="running", guard=identify(launch.pid), boot_id=boot_id())
    state.put_job(job)
    RunDir(root).state.write_text(state_json(state))


def watch(root: Path, srun: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", QUICK, str(root), str(srun)],
        env={**os.environ, "SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "0"},
    )


def check_leaves(watcher: subprocess.Popen[bytes], srun: subprocess.Popen[bytes]) -> None:
    """It leaves srun alone, and ends when srun ends by itself."""
    with pytest.raises(subprocess.TimeoutExpired):
        watcher.wait(3)
    end(srun)
    assert watcher.wait(60) == 0


def test_srun_is_ended_once_the_launch_of_node_0_is_gone(
    srun: subprocess.Popen[bytes], launch: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    write(tmp_path, launch, SlurmState(job="7"))
    end(launch)
    assert watch(tmp_path, srun.pid).wait(60) == 1
    assert srun.wait() == -signal.SIGKILL


def test_srun_is_left_alone_while_the_launch_of_node_0_is_there(
    srun: subprocess.Popen[bytes], launch: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    write(tmp_path, launch, SlurmState(job="7"))
    check_leaves(watch(tmp_path, srun.pid), srun)
    assert launch.poll() is None


@pytest.mark.parametrize("job", [SlurmState(job="8"), SlurmState(job="7", restarts=1)])
def test_the_end_of_an_attempt_in_another_job_or_before_a_requeue_does_not_count(
    srun: subprocess.Popen[bytes], launch: subprocess.Popen[bytes], tmp_path: Path, job: SlurmState
) -> None:
    write(tmp_path, launch, job)
    end(launch)
    check_leaves(watch(tmp_path, srun.pid), srun)


def test_another_process_with_sruns_pid_is_left_alone(launch: subprocess.Popen[bytes], tmp_path: Path) -> None:
    write(tmp_path, launch, SlurmState(job="7"))
    end(launch)
    script = "sleep 1000 & echo $!; wait"  # a child of somebody else
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as shell:
        assert shell.stdout
        assert watch(tmp_path, int(shell.stdout.readline())).wait(60) == 0
        assert shell.poll() is None, "its child is there"
        os.killpg(shell.pid, signal.SIGKILL)


def test_an_srun_that_has_ended_already_is_nothing_to_wait_for(srun: subprocess.Popen[bytes], tmp_path: Path) -> None:
    end(srun)
    assert watch(tmp_path, srun.pid).wait(60) == 0
