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
from launcher.slurm import lost_nodes
from tests.states import state_of
from tests.waiting import until


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])


@pytest.fixture
def srun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    srun = sleeper()
    monkeypatch.setattr(sys, "argv", ["lost_nodes", str(tmp_path), str(srun.pid)])
    monkeypatch.setattr(lost_nodes, "LOOK", 0.05)
    monkeypatch.setattr(lost_nodes, "LINGER", 0.2)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    yield srun
    srun.kill()
    srun.wait()


@pytest.fixture
def launch() -> Iterator[subprocess.Popen[bytes]]:
    """In the place of node 0's launch."""
    launch = sleeper()
    yield launch
    launch.kill()
    launch.wait()


def write(root: Path, launch: subprocess.Popen[bytes], job: SlurmState) -> None:
    state = state_of(RunDir(root), state="running", guard=identify(launch.pid), boot_id=boot_id())
    state.put_job(job)
    RunDir(root).state.write_text(state_json(state))


def main_in_background(root: Path, srun: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "launcher.slurm.lost_nodes", str(root), str(srun)]
    return subprocess.Popen(argv, env={**os.environ, "SLURM_JOB_ID": "7"})


def test_srun_is_ended_once_the_launch_of_node_0_is_gone(
    srun: subprocess.Popen[bytes], launch: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    write(tmp_path, launch, SlurmState(job="7"))
    launch.kill()
    launch.wait()
    assert lost_nodes.main() == 1
    assert srun.wait() == -signal.SIGKILL


def test_srun_is_left_alone_while_node_0s_launch_is_there_and_nothing_is_done_when_srun_ends_by_itself(
    srun: subprocess.Popen[bytes], launch: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    write(tmp_path, launch, SlurmState(job="7"))
    watcher = main_in_background(tmp_path, srun.pid)
    with pytest.raises(subprocess.TimeoutExpired):
        watcher.wait(5)
    srun.kill()
    assert watcher.wait(30) == 0
    assert launch.poll() is None


@pytest.mark.parametrize("job", [SlurmState(job="8"), SlurmState(job="7", restarts=1)])
def test_an_attempt_in_another_job_or_before_a_requeue_does_not_count(
    srun: subprocess.Popen[bytes], launch: subprocess.Popen[bytes], tmp_path: Path, job: SlurmState
) -> None:
    launch.kill()
    launch.wait()
    write(tmp_path, launch, job)
    watcher = main_in_background(tmp_path, srun.pid)
    with pytest.raises(subprocess.TimeoutExpired):
        watcher.wait(5)
    srun.kill()
    assert watcher.wait(30) == 0


def test_an_srun_that_has_ended_already_is_nothing_to_wait_for(srun: subprocess.Popen[bytes], tmp_path: Path) -> None:
    srun.kill()
    srun.wait()
    until(lambda: lost_nodes.main() == 0, 5)
