"""Linux's view of processes, tried on real ones."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.instrumentation.traceable import STACKS_SIGNAL
from launcher.processes.process_tree import (
    catches,
    children,
    descendants,
    is_pending,
    kill_quietly,
    signal_group,
    start_time,
    variable,
    zombie_exit_code,
)
from tests.children import run_python
from tests.waiting import until

SLEEP = "sleep 300"


@pytest.fixture
def shell() -> Iterator[subprocess.Popen[bytes]]:
    """A shell in a session of its own with one child, which sleeps."""
    process = subprocess.Popen(["sh", "-c", f"{SLEEP} & wait"], start_new_session=True)
    until(lambda: children(process.pid))
    yield process
    signal_group(process.pid, signal.SIGKILL)
    process.wait()


def ended(code: str) -> subprocess.Popen[bytes]:
    """A process that has ended and is not waited for."""
    process = subprocess.Popen([sys.executable, "-c", code])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return process


def test_children_and_descendants_are_found(shell: subprocess.Popen[bytes]) -> None:
    (sleeper,) = children(shell.pid)
    assert shell.pid in children(os.getpid())
    found = list(descendants(os.getpid()))
    assert found.index(shell.pid) < found.index(sleeper)


def test_children_of_any_thread_are_found() -> None:
    code = """
import subprocess, threading, os, sys
from launcher.processes.process_tree import children
started, go = threading.Event(), threading.Event()
def work():
    global child
    child = subprocess.Popen(["sleep", "300"]); started.set(); go.wait()
threading.Thread(target=work).start()
started.wait()
print(children(os.getpid()) == [child.pid])
child.kill(); child.wait(); go.set()
"""
    assert run_python(code, Path("/tmp")).stdout == "True\n"


def test_children_are_found_while_another_thread_of_their_parent_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    over, go = threading.Event(), threading.Event()
    ends = threading.Thread(target=over.wait)
    parent = threading.Thread(target=lambda: (begun.append(subprocess.Popen(["sleep", "300"])), go.wait()))
    begun: list[subprocess.Popen[bytes]] = []
    for thread in (ends, parent):  # so that the one that ends is read before the other
        thread.start()
    until(lambda: begun)
    listed = Path.iterdir

    def list_and_end(path: Path) -> Iterator[Path]:
        found = list(listed(path))
        over.set()
        until(lambda: not Path(f"/proc/self/task/{ends.native_id}").exists())
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", list_and_end)
    try:
        assert begun[0].pid in children(os.getpid())
    finally:
        begun[0].kill()
        begun[0].wait()
        go.set()
        parent.join()


def test_a_process_that_is_gone_has_no_children_no_start_and_no_variables() -> None:
    process = ended("")
    process.wait()
    assert children(process.pid) == []
    assert start_time(process.pid) is None
    assert variable(process.pid, "PATH") is None
    assert zombie_exit_code(process.pid) is None
    kill_quietly(process.pid, signal.SIGKILL)
    signal_group(process.pid, signal.SIGKILL)


def test_a_start_time_stays_and_differs_between_processes(shell: subprocess.Popen[bytes]) -> None:
    assert start_time(shell.pid) == start_time(shell.pid)
    assert (start_time(shell.pid) or 0) > (start_time(1) or 0)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM),
    ],
)
def test_the_exit_code_of_a_process_is_read_before_it_is_waited_for(code: str, expected: int) -> None:
    process = ended(code)
    assert zombie_exit_code(process.pid) == expected
    process.wait()


def test_a_process_that_lives_has_no_exit_code(shell: subprocess.Popen[bytes]) -> None:
    assert zombie_exit_code(shell.pid) is None


@pytest.mark.parametrize("name", ["a) Z 1 1", "((", "a b", "\n"])
def test_a_processs_own_name_confuses_nobody(name: str) -> None:
    code = f"import ctypes; ctypes.CDLL(None).prctl(15, {name.encode()!r}, 0, 0, 0); raise SystemExit(5)"
    process = ended(code)
    assert zombie_exit_code(process.pid) == 5
    assert (start_time(process.pid) or 0) > 0
    process.wait()


def test_a_variable_of_another_process_is_read_whole() -> None:
    environment = {"LAUNCH_COMPONENT": "a=b\nc ü", "NOT_LAUNCH_COMPONENT": "x"}
    process = subprocess.Popen(["sleep", "300"], env=environment)
    until(lambda: variable(process.pid, "LAUNCH_COMPONENT") == "a=b\nc ü")
    assert variable(process.pid, "COMPONENT") is None
    process.kill()
    process.wait()


BLOCKS_SIGTSTP = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
print("blocked", flush=True)
input()
signal.sigwait({signal.SIGTSTP})
print("taken", flush=True)
input()
"""


def test_a_signal_is_pending_until_the_process_takes_it() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", BLOCKS_SIGTSTP], bufsize=1, **pipes) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "blocked\n"
        assert not is_pending(process.pid, signal.SIGTSTP)
        process.send_signal(signal.SIGTSTP)
        assert is_pending(process.pid, signal.SIGTSTP)
        process.stdin.write("\n")
        assert process.stdout.readline() == "taken\n"
        assert not is_pending(process.pid, signal.SIGTSTP)
        process.stdin.write("\n")
    assert not is_pending(process.pid, signal.SIGTSTP)


def test_a_group_is_signalled_as_a_whole(shell: subprocess.Popen[bytes]) -> None:
    (sleeper,) = children(shell.pid)
    signal_group(shell.pid, signal.SIGTERM)
    assert shell.wait() == -signal.SIGTERM
    until(lambda: start_time(sleeper) is None or zombie_exit_code(sleeper) is not None)


SWEEP = """
import os, subprocess, sys
from launcher.processes.process_tree import become_subreaper, children, descendants, start_time, sweep
become_subreaper()
{start}
found = list(descendants(os.getpid()))
statuses = sweep()
print(len(found), len(statuses), children(os.getpid()), [pid for pid in found if start_time(pid) is not None])
print(sorted({{os.waitstatus_to_exitcode(status) for status in statuses.values()}}))
"""

ESCAPE = """
import pathlib, time
child = subprocess.Popen(["setsid", "sh", "-c", "trap '' TERM HUP; setsid --fork sleep 300; exec sleep 300"])
while pathlib.Path(f"/proc/{child.pid}/comm").read_text() != "sleep\\n":
    time.sleep(0.01)
"""


def swept(start: str) -> list[str]:
    done = run_python(SWEEP.format(start=start), Path("/tmp"))
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_sweep_leaves_no_descendant_not_even_one_in_a_session_of_its_own() -> None:
    assert swept(ESCAPE) == ["2 2 [] []", "[-9]"]


def test_a_child_that_is_spared_survives_a_sweep_which_does_not_wait_for_it() -> None:
    code = """
import os, subprocess, time
from launcher.processes.process_tree import become_subreaper, end_orphans, spared, sweep
become_subreaper()
ours, theirs = (subprocess.Popen(["sleep", "300"]) for _ in range(2))
began = time.monotonic()
with spared(ours.pid):
    print(list(sweep()) == [theirs.pid])
    end_orphans({})
    print(ours.poll(), time.monotonic() - began < 4)
print(list(sweep()) == [ours.pid])
"""
    assert run_python(code, Path("/tmp")).stdout.splitlines() == ["True", "None True", "True"]


def test_a_sweep_with_nobody_there_returns_at_once() -> None:
    assert swept("") == ["0 0 [] []", "[]"]


def test_a_sweep_reports_how_those_ended_that_had_ended_already() -> None:
    start = "p = subprocess.Popen(['sh', '-c', 'exit 7']); os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT)"
    assert swept(start)[1] == "[7]"


def test_a_handler_for_a_signal_is_seen_from_outside() -> None:
    assert catches(os.getpid(), signal.SIGINT)
    assert not catches(os.getpid(), STACKS_SIGNAL)
