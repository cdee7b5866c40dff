"""Signals to launch itself: who sent them is said, nothing after the end changes it, no child inherits the mask."""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from signal import SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGTERM, SIGUSR1

import pytest

from tests.launching import Launched, Launcher
from tests.waiting import until

pytestmark = pytest.mark.slow  # it takes minutes in all; tests/e2e/test_supervision.py has the essence

ROUNDS = 3
SHORTEST, LONGEST = 0.0005, 0.01  # seconds between two signals of a hammer
ENOUGH = 20  # signals of a hammer, until the command of --on-exit ends
WAITS = "while test ! -e {0}; do sleep 0.02; done; rm {0}"
UNTIL_HAMMERED = f"sh -c '{WAITS.format('hammered')}'"
UID = os.getuid()


def start(launch: Launcher, *command: str, on_exit: str = "sleep 0.5") -> Launched:
    shutil.rmtree(launch.directory / "run", ignore_errors=True)
    words = [word for each in command for word in ("--trainer.command", each)]
    options = ["--no-tmux", "--name", "calm-otter", "--on-exit", on_exit]
    run = launch("sft", *words, "--output-dir", "run", *options)
    until(lambda: "trainer: started" in log_of(run))
    return run


def log_of(run: Launched) -> str:
    return run.run.launcher_log.read_text() if run.run.launcher_log.exists() else ""


def hammer(run: Launched, begin: Callable[[], None], words: str, seed: int) -> int:
    """Signals to guard and supervisor at random moments, after `begin` and these words in the log, until they end."""
    chance, sent = random.Random(seed), 0
    targets = [os.pidfd_open(run.pid_of(name)) for name in ("guard", "supervisor")]
    begin()
    until(lambda: words in log_of(run))
    while run.process.poll() is None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(chance.choice(targets), chance.choice([SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1]))
        sent += 1
        if sent == ENOUGH:
            (run.run.root.parent / "hammered").touch()
        time.sleep(chance.uniform(SHORTEST, LONGEST))
    for target in targets:
        os.close(target)
    return sent


# --- who it was -------------------------------------------------------------------------------------------------------


def test_a_stop_names_who_asked_for_it_wherever_somebody_looks(launch: Launcher) -> None:
    run = start(launch, "sleep", "1000")
    stop = launch("stop", "run")
    assert stop.exit_code() == 0
    assert run.exit_code() == 143
    sender = f"pid {stop.process.pid} (`launch stop run`, uid {UID})"
    assert f"SIGTERM from {sender}" in log_of(run)
    assert f"stopped by {sender}\n" in run.output
    assert run.state().reason == f"stopped by {sender}"
    page = launch("status", "run")
    assert page.exit_code() == 0
    assert f"sft run calm-otter: stopped by {sender}, attempt 1" in page.output


@pytest.mark.parametrize("target", ["guard", "supervisor"])
def test_a_process_that_signals_launch_by_its_pid_is_named(launch: Launcher, target: str) -> None:
    run = start(launch, "sleep", "1000")
    code = f"import os, signal; os.kill({run.pid_of(target)}, 2); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code]) as killer:
        try:
            assert run.exit_code() == 130
        finally:
            killer.kill()
    assert f"SIGINT from pid {killer.pid} (`python" in log_of(run)
    assert f"`, uid {UID})" in log_of(run)


# --- after the end ----------------------------------------------------------------------------------------------------


def test_whatever_arrives_while_a_run_finishes_its_exit_code_is_its_own(launch: Launcher) -> None:
    for seed in range(ROUNDS):
        run = start(launch, "sh", "-c", WAITS.format("go"), on_exit=UNTIL_HAMMERED)
        assert hammer(run, (launch.directory / "go").touch, "the run has finished", seed) >= ENOUGH
        assert (run.process.returncode, run.state().state) == (0, "finished"), run.output
        assert "has been killed" not in run.output


def test_whatever_arrives_after_a_ctrl_c_the_run_is_stopped_by_that(launch: Launcher) -> None:
    for seed in range(ROUNDS):
        run = start(launch, "sleep", "1000", on_exit=UNTIL_HAMMERED)
        assert hammer(run, partial(os.kill, run.process.pid, SIGINT), "SIGINT from", seed) >= ENOUGH
        assert (run.process.returncode, run.state().state) == (130, "stopped"), run.output
        assert f"stopped by pid {os.getpid()}" in (run.state().reason or "")
        assert "has been killed" not in run.output


def test_stop_and_stop_now_together_are_one_stop(launch: Launcher) -> None:
    for _ in range(2):
        run = start(launch, "sleep", "1000")
        stops = [launch("stop", "run"), launch("stop", "run", "--now")]
        assert [stop.exit_code() for stop in stops] == [0, 0]
        assert run.exit_code() in (128 + SIGTERM, 128 + SIGQUIT), run.output
        assert run.state().state == "stopped"
        assert "has been killed" not in run.output


# --- a launch that is stopped -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frozen", "how"), [(["supervisor"], ()), (["guard", "supervisor"], ("--now",))], ids=["stop", "stop now"]
)
def test_stop_wakes_a_launch_that_sigstop_has_stopped(
    launch: Launcher, frozen: list[str], how: tuple[str, ...]
) -> None:
    run = start(launch, "sleep", "1000")
    for name in frozen:
        os.kill(run.pid_of(name), SIGSTOP)
    begun = time.monotonic()
    assert launch("stop", "run", *how).exit_code() == 0
    assert time.monotonic() - begun < 20  # of the 30 of the grace
    assert run.exit_code() in (128 + SIGTERM, 128 + SIGQUIT)
    assert run.state().state == "stopped"


def test_a_signal_to_the_guard_wakes_a_supervisor_that_is_stopped(launch: Launcher) -> None:
    run = start(launch, "sleep", "1000")
    os.kill(run.pid_of("supervisor"), SIGSTOP)
    os.kill(run.process.pid, SIGTERM)
    assert run.exit_code() == 143


# --- what children inherit --------------------------------------------------------------------------------------------

REPORT = "import signal, sys; print('blocked', signal.pthread_sigmask(signal.SIG_BLOCK, ()), flush=True)"


def test_no_component_and_no_on_exit_command_inherits_a_blocked_signal(launch: Launcher) -> None:
    on_exit = shlex.join([sys.executable, "-c", REPORT])
    words = [word for each in (sys.executable, "-c", REPORT) for word in ("--trainer.command", each)]
    run = launch("sft", *words, "--output-dir", "run", "--no-tmux", "--on-exit", on_exit)
    assert run.exit_code() == 0, run.output
    assert run.run.component_log("trainer").read_text() == "blocked set()\n"
    assert run.run.on_exit_log.read_text() == "blocked set()\n"
