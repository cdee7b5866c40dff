"""Which processes may be signalled: what run.json says of them is not believed."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.processes.identity import identify
from launcher.processes.proof import GUARDS, holds_lock, proves_to_be_of
from launcher.rundir import RunDir
from launcher.runs.directory import sign
from launcher.runs.state import RunState
from launcher.runs.state_file import StateFile, first_state
from launcher.runs.stop import stop
from launcher.runs.survivors import survivors
from launcher.slurm.time_limit import main as tell_of_time_limit
from tests.plans import plan_of, sft
from tests.waiting import until

LOCK = """
import fcntl, sys
file = open(sys.argv[1], "r+")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    tmp_path.joinpath("run").mkdir()
    run = RunDir(tmp_path / "run")
    run.lock.touch()
    return run


@pytest.fixture
def victim() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of the user's own that has nothing to do with any run."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
        yield process
        process.kill()


def crafted(run: RunDir, **named: int) -> RunState:
    """A run.json that says that these processes are its own."""
    state = first_state(plan_of(sft("--nproc", "2")), {})
    for name, pid in named.items():
        if name == "trainer":
            state.processes[0].process = identify(pid)
        elif name == "rank":
            state.processes[0].ranks[0].process = identify(pid)
        else:
            setattr(state, name, identify(pid))
    state.state = "running"
    StateFile(run, state).write()
    return state


@pytest.mark.parametrize("now", [False, True])
@pytest.mark.parametrize("name", ["guard", "watcher", "supervisor", "trainer", "rank"])
def test_stop_signals_no_process_that_only_run_json_calls_one_of_the_run(
    run: RunDir, victim: "subprocess.Popen[bytes]", name: str, now: bool
) -> None:
    crafted(run, **{name: victim.pid})
    with pytest.raises(UserError, match=rf"are not proven to belong to this run: .*\(pid {victim.pid}\)"):
        stop(run, grace=0, now=now)
    assert victim.poll() is None


def test_a_lock_that_says_that_a_foreign_process_holds_it_proves_nothing(
    run: RunDir, victim: "subprocess.Popen[bytes]"
) -> None:
    with run.lock.open("r+b") as file:
        os.pwrite(file.fileno(), f"pid {victim.pid} on {os.uname().nodename}\n".encode(), 0)
        assert not holds_lock(run, victim.pid)


def test_whoever_holds_the_lock_is_of_the_run_and_a_second_name_of_another_lock_is_none(run: RunDir) -> None:
    command = [sys.executable, "-c", LOCK, str(run.lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        assert proves_to_be_of(run, identify(holder.pid))
        assert not holds_lock(run, os.getpid())
        os.link(run.lock, run.root / "other")
        assert not holds_lock(run, holder.pid)
        holder.communicate()


def test_what_is_inherited_through_a_fork_is_held(run: RunDir) -> None:
    descriptor = os.open(run.lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    sign(descriptor)
    until_closed, closes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(closes)
        os.read(until_closed, 1)
        os._exit(0)
    os.close(descriptor)
    assert holds_lock(run, child)
    os.close(closes)
    os.waitpid(child, 0)
    os.close(until_closed)


@pytest.mark.parametrize("name", ["LAUNCH_RUN_DIR", GUARDS])
def test_the_environment_of_its_exec_proves_a_process_and_that_of_another_run_does_not(run: RunDir, name: str) -> None:
    link = run.root.with_name("link")
    link.symlink_to(run.root)
    for root, is_ours in ((run.root, True), (link, True), (run.root.parent, False)):
        with subprocess.Popen(["sleep", "1000"], env={name: str(root), "PATH": os.environ["PATH"]}) as process:
            until(Path(f"/proc/{process.pid}/environ").read_bytes)  # in the middle of exec it has none
            assert proves_to_be_of(run, identify(process.pid)) is is_ours
            process.kill()


def test_the_time_limit_is_told_to_nobody_else(
    run: RunDir, victim: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    crafted(run, supervisor=victim.pid)
    monkeypatch.setattr(sys, "argv", ["time_limit", str(run.root)])
    monkeypatch.setattr("launcher.slurm.time_limit.PATIENCE", 0.3)
    assert tell_of_time_limit() == 1
    assert victim.poll() is None


def test_a_foreign_session_that_run_json_names_has_no_survivors(run: RunDir, victim: "subprocess.Popen[bytes]") -> None:
    crafted(run, trainer=victim.pid)
    assert survivors(run) == []


def test_a_process_without_its_environment_is_known_by_its_session_and_the_log_that_it_writes(run: RunDir) -> None:
    run.logs.mkdir(parents=True)
    with (
        run.component_log("trainer").open("wb") as log,
        subprocess.Popen(["sleep", "1000"], env={}, stdout=log, start_new_session=True) as process,
    ):
        crafted(run, trainer=process.pid)
        until(lambda: [each.process.pid for each in survivors(run)] == [process.pid])
        stop(run)
        assert process.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("supervisor", ["99999999999.1", "0.1", "1." + "9" * 5000, "².1", "-1.-1", "1", ""])
def test_a_process_that_says_nonsense_of_its_supervisor_is_no_survivor(run: RunDir, supervisor: str) -> None:
    """Anybody's process may have any environment, and root sees it."""
    environment = {"LAUNCH_RUN_DIR": str(run.root), "LAUNCH_SUPERVISOR": supervisor}
    with subprocess.Popen(["sleep", "1000"], env=environment) as process:
        until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
        assert survivors(run) == []
        process.kill()
