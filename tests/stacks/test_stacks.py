"""Stacks of real processes, with and without the right to look into them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.processes.identity import identify
from launcher.rundir import RunDir
from launcher.runs.state import RunState
from launcher.runs.state_file import first_state
from launcher.stacks.frames import PythonProcess
from launcher.stacks.stacks import REFUSED, find_pyspy, is_python, python_processes, take_stacks
from tests.plans import plan_of, sft
from tests.waiting import until

HOLD = """
import sys
def hold():
    print("there", flush=True)
    sys.stdin.read()
hold()
"""
AS_NOBODY = """
import ctypes, os
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
"""
NOT_TRACEABLE = "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"  # PR_SET_DUMPABLE: like ptrace_scope
RANK = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {HOLD!r}], stdout=subprocess.DEVNULL)"
SUPERVISOR = f"""
import subprocess, sys
rank = subprocess.Popen([sys.executable, "-c", {RANK!r}])
other = subprocess.Popen(["sleep", "1000"])
print(rank.pid, flush=True)
sys.stdin.read()
other.kill()
"""
Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python code that reads its standard input to the end, which comes with the test's."""
    started = []

    def start_code(code: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start_code
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.communicate()


@pytest.fixture
def shared_dir() -> Iterator[Path]:
    """A directory that other users may enter, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def state_of(supervisor: int) -> RunState:
    state = first_state(plan_of(sft("--nproc", "2")), {})
    state.supervisor = identify(supervisor)
    return state


def test_all_python_processes_below_the_supervisor_are_found_and_nothing_else(start: Start) -> None:
    supervisor = start(SUPERVISOR)
    rank = int(first_line(supervisor))
    state = state_of(supervisor.pid)
    state.processes[0].ranks[1].process = identify(rank)
    found = until(lambda: [process for process in python_processes(state) if process.is_child])
    assert python_processes(state)[0] == PythonProcess(rank, "trainer", 1)
    assert [(process.component, process.rank) for process in found] == [("trainer", 1)]


def test_a_process_whose_parent_has_ended_is_placed_by_its_environment(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCH_COMPONENT", "orchestrator")
    supervisor = start(SUPERVISOR)
    rank = int(first_line(supervisor))
    placed = PythonProcess(rank, "orchestrator", is_child=True)
    until(lambda: placed in python_processes(state_of(supervisor.pid)))


def test_stacks_are_those_of_the_moment_children_included(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCH_RUN_DIR", str(tmp_path))
    supervisor = start(SUPERVISOR)
    state = state_of(supervisor.pid)
    state.processes[0].ranks[1].process = identify(int(first_line(supervisor)))
    held = until(
        lambda: [
            stack
            for stack in take_stacks(RunDir(tmp_path), state, rank=1)
            if stack.threads and stack.threads[0].frames[0].function == "hold"
        ]
    )
    assert held[0].process.is_child
    assert held[0].threads[0].waits


def test_a_rank_that_is_not_there_is_a_wrong_request(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCH_RUN_DIR", str(tmp_path))
    supervisor = start(SUPERVISOR)
    first_line(supervisor)
    with pytest.raises(UserError, match="--rank 7: otter has no such rank"):
        take_stacks(RunDir(tmp_path), state_of(supervisor.pid), rank=7)


def test_the_children_of_a_process_that_run_json_only_calls_the_supervisor_are_not_looked_into(
    start: Start, tmp_path: Path
) -> None:
    foreign = start(SUPERVISOR)
    first_line(foreign)
    with pytest.raises(UserError, match=f"pid {foreign.pid}.* does not hold the run's lock"):
        take_stacks(RunDir(tmp_path), state_of(foreign.pid))


def test_a_run_that_has_ended_has_no_stacks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="otter is not running"):
        take_stacks(RunDir(tmp_path), first_state(plan_of(sft()), {}))


def test_a_run_on_another_host_has_its_stacks_there(tmp_path: Path) -> None:
    state = first_state(plan_of(sft()), {}).model_copy(update={"host": "n3"})
    with pytest.raises(UserError, match="otter runs on n3"):
        take_stacks(RunDir(tmp_path), state)


def test_python_is_known_under_whatever_name(start: Start) -> None:
    renamed = start("import ctypes\nctypes.CDLL(None).prctl(15, b'VLLM::Engine')\n" + HOLD)
    first_line(renamed)
    assert is_python(renamed.pid)


def test_a_process_that_has_ended_is_not_python_any_more() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert not is_python(ended.pid)
    ended.wait()
    assert not is_python(ended.pid)


def test_a_process_that_is_stopped_has_a_stack_too(start: Start, shared_dir: Path) -> None:
    stopped = start(HOLD)
    first_line(stopped)
    stopped.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, stopped.pid, os.WSTOPPED)
    assert take_from(shared_dir, stopped.pid, as_nobody=False) == ["hold", "<module>"]


def take_from(root: Path, pid: int, as_nobody: bool = True) -> list[str]:
    """The functions that `pid`'s main thread is in, or why they are not known; by default without root's rights."""
    code = f"""
import json, os, sys
from launcher.stacks.frames import PythonProcess
from launcher.stacks.stacks import RunDir, Path, _take
{AS_NOBODY if as_nobody else ""}
stack = _take(RunDir(Path({str(root)!r})), PythonProcess({pid}, "trainer"))
print(json.dumps([frame.function for frame in stack.threads[0].frames] if stack.threads else [stack.trouble]))
"""
    programs = root / "programs"  # nobody may be kept out of the directory in which launch is installed
    programs.mkdir(exist_ok=True)
    found = find_pyspy()
    assert found
    shutil.copy(found, programs)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, cwd="/", check=True)
    functions: list[str] = json.loads(done.stdout)
    return functions


def test_a_process_of_ours_tells_its_stack_where_ptrace_is_refused(start: Start, shared_dir: Path) -> None:
    code = "from launcher.instrumentation.traceable import *\nfrom pathlib import Path\n"
    target = start(f"{code}make_traceable(RunDir(Path({str(shared_dir)!r})))\n{AS_NOBODY}{NOT_TRACEABLE}{HOLD}")
    first_line(target)
    for _ in range(2):  # the second answer stands behind the first one
        assert take_from(shared_dir, target.pid) == ["hold", "<module>"]


def test_a_foreign_process_is_not_signalled_where_ptrace_is_refused(start: Start, shared_dir: Path) -> None:
    target = start(AS_NOBODY + NOT_TRACEABLE + HOLD)
    first_line(target)
    RunDir(shared_dir).all_stacks.mkdir(parents=True)
    RunDir(shared_dir).stacks(target.pid).touch()  # left by an earlier process of the same pid
    assert take_from(shared_dir, target.pid) == [REFUSED]
    assert target.poll() is None
