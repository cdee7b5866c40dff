"""Several processes of launch killed or stopped at once: what they have started does not outlive them, and nothing new
starts beside it."""

import os
import signal
from contextlib import suppress
from signal import SIGKILL, SIGSTOP

import pytest

from tests.launching import Launched, Launcher, kill_at_once
from tests.waiting import until

pytestmark = pytest.mark.slow  # it takes minutes in all; tests/e2e/test_supervision.py has the essence

WITHIN = 20.0  # seconds from the kills until nothing lives, also on a busy machine

RANKS = """
import os, signal, subprocess, sys
rank = os.environ["RANK"]
if os.environ["LAUNCH_ATTEMPT"] != "1":
    print("rank", rank, "of attempt 2", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["setsid", "sleep", "1000"])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.pause()
    os._exit(0)
print("rank", rank, "is there", flush=True)
signal.pause()
"""


def send(run: Launched, signals: dict[str, signal.Signals]) -> None:
    """All of them within a millisecond or two, in this order."""
    pids = {name: run.pid_of(name) for name in signals}
    for name, number in signals.items():
        with suppress(ProcessLookupError):  # the end of the one before has ended this one
            os.kill(pids[name], number)


def start(launch: Launcher) -> Launched:
    run = launch.sft(RANKS, "--nproc", "2", "--filter-rank", "0,1", "--grace", "1s")
    run.wait_for_ranks(2)
    for rank in range(2):
        run.wait_for_output(f"rank {rank} is there")
    return run


SETS = [
    {"supervisor": SIGKILL, "guard": SIGKILL, "trainer": SIGKILL},
    {"supervisor": SIGSTOP, "guard": SIGKILL},
    {"guard": SIGKILL, "supervisor": SIGKILL},
    {"guard": SIGKILL, "watcher": SIGKILL},
    {"watcher": SIGKILL, "supervisor": SIGKILL},
    {"guard": SIGKILL, "supervisor": SIGSTOP},
    {"guard": SIGSTOP, "supervisor": SIGKILL},
    {"watcher": SIGSTOP, "supervisor": SIGKILL},
]


def named(signals: dict[str, signal.Signals]) -> str:
    return " ".join(f"{name}-{number.name}" for name, number in signals.items())


@pytest.mark.parametrize("signals", SETS, ids=named)
def test_whatever_is_killed_nothing_lives_after_seconds_and_the_run_can_be_resumed(
    launch: Launcher, signals: dict[str, signal.Signals]
) -> None:
    run = start(launch)
    send(run, signals)
    until(lambda: not launch.alive(), WITHIN)
    codes = {-SIGKILL if signals.get("guard") == SIGKILL else 1}
    if next(iter(signals.items())) == ("supervisor", SIGKILL):
        codes.add(1)  # the guard has reported the end before its own
    assert run.exit_code() in codes
    again = launch("resume", "run", "--no-tmux")
    assert again.exit_code() == 0, again.output
    assert "ended first" not in again.output


def test_a_watcher_that_is_killed_is_missed_and_the_run_goes_on(launch: Launcher) -> None:
    run = start(launch)
    send(run, {"watcher": SIGKILL})
    until(lambda: "the watcher process was killed" in run.run.launcher_log.read_text())
    assert run.process.poll() is None
    os.kill(run.pid_of("supervisor"), SIGKILL)
    until(lambda: not launch.alive(), WITHIN)
    assert run.exit_code() == 1
    assert "the supervisor was ended by SIGKILL" in run.output


@pytest.mark.parametrize("command", ["resume", "clean", "stop"])
def test_what_has_outlived_guard_watcher_and_supervisor_is_ended_before_anything_else(
    launch: Launcher, command: str
) -> None:
    run = start(launch)
    ranks = run.rank_pids()
    kill_at_once(map(run.pid_of, ("guard", "watcher", "supervisor", "trainer")))
    run.exit_code()
    survivors = launch.alive()
    assert set(ranks) < set(survivors)  # with them what they have started
    if command == "clean":
        again = launch.sft("print('a new run')", "--clean")
    else:
        again = launch(command, "run", *(["--no-tmux"] if command == "resume" else []))
    assert again.exit_code() == 0, again.output
    assert not launch.alive()
    if command != "stop":
        assert f"ended first: trainer rank 0 (pid {ranks[0]})" in again.output.replace("\n", " ")


def test_ranks_end_with_all_of_launch_though_nobody_is_left_to_end_them(launch: Launcher) -> None:
    run = launch.sft("import signal; print('there', flush=True); signal.pause()")
    run.wait_for_output("there")
    run.wait_for_ranks(1)
    ranks = run.rank_pids()
    send(run, dict.fromkeys(("guard", "watcher", "supervisor"), SIGKILL))
    until(lambda: not set(ranks) & set(launch.alive()), WITHIN)
    until(lambda: not launch.alive())  # torchrun itself takes its time
    assert run.exit_code() == -SIGKILL
