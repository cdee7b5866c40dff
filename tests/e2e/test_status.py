"""`launch status` on real runs: while they go on, after they have ended, and after they were killed."""

import json
import os
import pty
import signal
import subprocess
from contextlib import suppress
from typing import Any

import pytest

from tests.launching import LAUNCH, Launched, Launcher, kill_at_once
from tests.waiting import until

pytestmark = pytest.mark.slow  # many launches: CI runs them, and whoever asks for them

PATIENT = """
import os, signal
print("rank", os.environ["RANK"], "is there", flush=True)
signal.pause()
"""


def status(launch: Launcher, *arguments: str) -> str:
    """What `launch status` prints, in a pipe."""
    command = [LAUNCH, "status", *arguments]
    done = subprocess.run(
        command, cwd=launch.directory, env=launch.environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def in_full(launch: Launcher) -> dict[str, Any]:
    found = json.loads(status(launch, "run", "--json"))
    assert isinstance(found, dict)
    return found


def stop(run: Launched) -> None:
    os.kill(run.process.pid, signal.SIGTERM)
    assert run.exit_code() == 143


def test_a_run_that_goes_on_is_shown_with_its_living_processes(launch: Launcher) -> None:
    run = launch.sft(PATIENT, "--nproc", "2", "--name", "calm-otter")
    run.wait_for_ranks(2)
    table = status(launch, "--all").splitlines()
    assert table[1].split()[:4] == ["calm-otter", "running", "sft", "1"]
    found = in_full(launch)
    launchers = [run.pid_of(name) for name in ("supervisor", "watcher", "guard")]
    assert [process["pid"] for process in found["launchers"]] == launchers
    trainer = found["components"][0]
    assert [(rank["pid"], rank["state"]) for rank in trainer["ranks"]] == [(pid, "running") for pid in run.rank_pids()]
    assert trainer["usage"]["memory"] > trainer["ranks"][0]["usage"]["memory"] > 1e6
    assert "launch stop calm-otter\n" in status(launch, "calm-otter")
    stop(run)
    assert status(launch, "--all").splitlines()[1].split()[1] == "stopped"


def test_a_run_that_finished_says_so_and_has_no_processes(launch: Launcher) -> None:
    run = launch.sft("print('done')")
    assert run.exit_code() == 0
    found = in_full(launch)
    assert (found["state"], found["exit_code"], found["last_seen"]) == ("finished", 0, None)
    assert [process["state"] for process in (*found["launchers"], *found["components"])] == ["gone"] * 3 + ["exited"]
    assert "trainer   exit code 0" in status(launch, "run")


def test_the_failure_block_is_shown_again(launch: Launcher) -> None:
    run = launch.sft("raise ValueError('on purpose')")
    assert run.exit_code() == 1
    block = run.output[run.output.index("FAILED  trainer") :].partition("\n\nrun ")[0]
    assert "ValueError: on purpose" in block
    assert block in status(launch, "run")


def test_a_run_whose_torchrun_was_killed_with_all_of_launch_has_died(launch: Launcher) -> None:
    run = launch.sft(PATIENT, "--nproc", "2")
    run.wait_for_ranks(2)
    kill_at_once(map(run.pid_of, ("guard", "watcher", "supervisor", "trainer")))
    until(lambda: in_full(launch)["state"] == "died")
    assert "some of its processes are still there" in status(launch, "run")
    for pid in run.rank_pids():
        os.kill(pid, signal.SIGKILL)
    until(lambda: not launch.alive())
    found = in_full(launch)
    trainer = found["components"][0]
    assert [process["state"] for process in (trainer, *trainer["ranks"])] == ["gone"] * 3
    assert "running" not in status(launch, "run")
    run.exit_code()


@pytest.mark.parametrize(("variables", "has_colours"), [({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)])
def test_a_state_has_a_colour_on_a_terminal_unless_nobody_wants_one(
    launch: Launcher, variables: dict[str, str], has_colours: bool
) -> None:
    assert launch.sft("raise SystemExit(3)").exit_code() == 1
    assert "failed" in status(launch, "--all") and "\x1b" not in status(launch, "--all")
    assert ("\x1b[31mfailed" in on_a_terminal(launch, variables)) is has_colours


def on_a_terminal(launch: Launcher, variables: dict[str, str]) -> str:
    """What `launch status --all` prints on a terminal."""
    ours, theirs = pty.openpty()
    text = b""
    with os.fdopen(ours, "rb", buffering=0) as output:
        process = subprocess.Popen(
            [LAUNCH, "status", "--all"], cwd=launch.directory, env=launch.environment | variables, stdout=theirs
        )
        os.close(theirs)
        with suppress(OSError):  # EIO: nobody can write any more
            while read := output.read(10_000):
                text += read
        assert process.wait(60) == 0
    return text.decode()
