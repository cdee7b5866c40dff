"""Faults around a run: at its start, in what it logs, a silent server, a jumping clock, another run that is stopped."""

import os
import random
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from launcher.runs.liveness import true_state
from launcher.runs.state import read_state
from tests.e2e.faulty import Ended, Faulty, log_of, rl_command, start_rl
from tests.launching import Launched, Launcher
from tests.waiting import until

pytestmark = pytest.mark.slow  # many launches: CI runs them, and whoever asks for them

FINISHED, TERMINATED = Ended(0, "finished"), Ended(143, "stopped")


def finish(faulty: Faulty, expected: Ended = FINISHED) -> None:
    """Whatever has happened, the run still does what it is told."""
    faulty.touch("finish")
    faulty.check(expected)


# --- before it has started --------------------------------------------------------------------------------------------


def test_a_program_that_does_not_exist_is_refused_and_nothing_is_made(launch: Launcher) -> None:
    run = launch("sft", "--trainer.command=no-such-program", "--output-dir", "run")
    assert run.exit_code() == 2
    assert "no-such-program" in run.output
    assert not run.run.root.exists()


def test_a_port_that_is_taken_is_refused(launch: Launcher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [word for word in rl_command(launch) if not word.startswith("--inference")]
        run = launch(*command, "--inference.port", str(port), "--output-dir", "run", "--no-tmux")
        assert run.exit_code() == 2
    assert f"--inference.port {port}: 127.0.0.1:{port} cannot be used: Address already in use" in run.output


def is_gone_or_misses_its_watcher(launch: Launcher, run: Launched) -> bool:
    log = run.run.launcher_log
    return not launch.alive() or (log.exists() and "the watcher process was killed" in log.read_text())


def kill_one_of(launch: Launcher) -> None:
    """SIGKILL for one of launch's processes; another one, if that has just ended by itself."""
    while victims := [pid for pid, command in launch.alive().items() if "launch" in command]:
        with suppress(ProcessLookupError):
            os.kill(random.choice(victims), signal.SIGKILL)
            return


def kill_at_random_moments(launch: Launcher, times: int) -> None:
    for attempt in range(times):
        run = launch(*rl_command(launch), "--output-dir", "run", "--no-tmux", "--clean")
        moment = random.Random(attempt).uniform(0, 1.5)
        with pytest.raises(subprocess.TimeoutExpired):
            run.process.wait(moment)
        kill_one_of(launch)
        until(partial(is_gone_or_misses_its_watcher, launch, run))
        if launch.alive():  # a run goes on without its watcher, or is not quite gone
            with suppress(ProcessLookupError):
                os.kill(run.pid_of("supervisor"), signal.SIGKILL)
            until(lambda: not launch.alive())
        assert run.exit_code() != 0
        state = read_state(run.run)
        assert state is None or true_state(run.run, state) in ("died", "failed")


def test_sigkill_at_any_moment_of_the_start_leaves_nothing_and_can_be_cleaned(launch: Launcher) -> None:
    kill_at_random_moments(launch, 5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sigkill_at_many_moments_of_the_start_leaves_nothing(launch: Launcher) -> None:
    kill_at_random_moments(launch, 60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_the_first_moment_of_the_supervisor_is_not_lost(launch: Launcher, number: signal.Signals) -> None:
    run = launch(*rl_command(launch), "--output-dir", "run", "--no-tmux")
    until(lambda: any("guard.py" in command for command in launch.alive().values()))
    os.kill(run.process.pid, number)
    assert run.exit_code() == 128 + number
    assert run.state().state == "stopped"


# --- what it logs -----------------------------------------------------------------------------------------------------


def test_deleted_logs_do_not_end_a_run_and_the_launchers_log_comes_back(launch: Launcher) -> None:
    faulty = start_rl(launch, inference="wait_for('go')\nos._exit(3)")
    faulty.wait_until_there()
    shutil.rmtree(faulty.run.run.logs)
    faulty.touch("go")
    assert faulty.run.exit_code() == 1
    assert "FAILED  inference: exit code 3" in faulty.run.output
    assert "FAILED  inference: exit code 3" in faulty.run.run.launcher_log.read_text()
    faulty.check_resume()


def test_binary_output_and_a_line_of_10_megabytes_are_kept_and_the_cause_is_found(launch: Launcher) -> None:
    code = """
import random
noise = random.Random(0).randbytes(1_000_000) + b"x" * 10_000_000
sys.stdout.buffer.write(noise)
sys.stdout.flush()
raise ValueError("after the noise")
"""
    faulty = start_rl(launch, orchestrator=f"wait_for('go')\n{code}")
    faulty.wait_until_there()
    faulty.touch("go")
    faulty.check(Ended(1, "failed", "orchestrator", "ValueError: after the noise"))
    noise = random.Random(0).randbytes(1_000_000) + b"x" * 10_000_000
    assert noise in log_of(faulty.run.run, "orchestrator").read_bytes()


def flood(launch: Launcher, megabytes: int) -> None:
    code = f"block = (b'y' * 99 + b'\\n') * 10_000\nfor _ in range({megabytes}): os.write(1, block)\n"
    faulty = start_rl(launch, orchestrator=code + "pathlib.Path('flooded').touch()")
    faulty.wait_until_there()
    until(lambda: (launch.directory / "flooded").exists())
    supervisor = Path(f"/proc/{faulty.run.pid_of('supervisor')}/status").read_text()
    assert int(supervisor.partition("VmHWM:")[2].split()[0]) < 150_000  # KB
    finish(faulty)
    log = log_of(faulty.run.run, "orchestrator")
    assert log.stat().st_size > megabytes * 1_000_000
    assert "bytes are left out here" in faulty.run.output
    log.unlink()


def test_a_flood_of_200_megabytes_is_in_the_log_and_not_in_memory(launch: Launcher) -> None:
    flood(launch, 200)


@pytest.mark.slow
def test_a_flood_of_a_gigabyte_is_in_the_log_and_not_in_memory(launch: Launcher) -> None:
    flood(launch, 1000)


# --- silence, time and others -----------------------------------------------------------------------------------------


def test_a_server_that_stays_up_and_answers_no_more_is_named_and_does_not_cost_the_grace(launch: Launcher) -> None:
    ask = (
        "import urllib.request\nwait_for('go')\nurllib.request.urlopen('http://127.0.0.1:' + sys.argv[1], timeout=0.5)"
    )
    serve = "import http.server as s\ns.test(s.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"
    options = ["--orchestrator.args={port}", "--inference.args={port}", "--inference.ready=http://127.0.0.1:{port}/"]
    faulty = start_rl(launch, *options, orchestrator=ask, inference=serve)
    faulty.wait_until_there()
    faulty.run.wait_for_output("inference: ready after")
    faulty.send("inference", signal.SIGSTOP)
    faulty.touch("go")
    faulty.check(Ended(1, "failed", "orchestrator", "TimeoutError: timed out"))


CLOCK = """
import pathlib, time
true_time = time.time
time.time = lambda: true_time() + (float(jump.read_text()) if (jump := pathlib.Path('jump')).exists() else 0.0)
"""


@pytest.mark.parametrize("seconds", [-86400, 86400])
def test_a_clock_that_jumps_ends_nothing_early_and_nothing_late(launch: Launcher, seconds: int) -> None:
    site = launch.directory / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(CLOCK)
    launch.environment["PYTHONPATH"] = str(site)
    deaf = "signal.signal(15, signal.SIG_IGN)"
    faulty = start_rl(launch, "--grace=2s", "--drain-timeout=30s", inference=deaf)
    faulty.wait_until_there()
    (launch.directory / "jump").write_text(str(seconds))
    faulty.touch("finish")
    until(lambda: "stopping: the run has finished" in faulty.run.output)
    faulty.check(FINISHED)


def test_stopping_one_of_two_runs_leaves_the_other_alone(launch: Launcher) -> None:
    (launch.directory / "neighbour").mkdir()
    neighbour = launch.other(launch.directory / "neighbour")
    other, faulty = start_rl(neighbour), start_rl(launch)
    other.wait_until_there()
    faulty.wait_until_there()
    before = neighbour.alive()
    faulty.send("guard", signal.SIGTERM)
    faulty.check(TERMINATED)
    assert neighbour.alive() == before
    finish(other)
