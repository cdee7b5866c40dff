"""How runs end: real processes, and /proc asked what is left."""

import os
import shlex
import signal
import subprocess
import time

import pytest

from launcher.rundir import RunDir
from launcher.runs.state import read_state
from tests.launching import LAUNCH, Launcher
from tests.waiting import until

STUBBORN = """
import os, signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["setsid", "sleep", "1000"])
print("rank", os.environ["RANK"], "is there", flush=True)
signal.pause()
"""
PATIENT = """
import os, signal
print("rank", os.environ["RANK"], "is there", flush=True)
signal.pause()
"""


def test_a_run_that_finishes_exits_0_and_says_so(launch: Launcher) -> None:
    run = launch.sft("print('all done')")
    assert run.exit_code() == 0
    assert "[trainer0]:all done" in run.output
    assert "finished after" in run.output
    assert run.state().state == "finished"
    assert run.endings() == {"trainer": "exit code 0", "rank 0": "exit code 0"}
    assert "WARNING" not in run.run.launcher_log.read_text()


def test_a_failure_on_a_filtered_rank_is_shown_with_its_traceback(launch: Launcher) -> None:
    go = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)"
    fails = "if os.environ['RANK'] == '1': raise ValueError('on purpose')"
    script = f"import os, signal\n{go}\n{fails}\nsignal.pause()"
    run = launch.sft(script, "--nproc", "2", "--filter-rank", "0")
    run.wait_for_ranks(2)
    (launch.directory / "go").touch()
    assert run.exit_code() == 1
    assert "FAILED  trainer rank 1: exit code 1" in run.output
    assert "ValueError: on purpose" in run.output
    failure = run.state().failure
    assert failure is not None
    assert failure.rank == 1
    assert failure.log is not None
    assert failure.log.parts[-3:] == ("attempt_0", "1", "stderr.log")
    assert run.endings()["rank 1"] == "exit code 1"
    assert run.endings()["rank 0"] in ("ended by torchrun (SIGTERM)", "ended by launch (SIGTERM)")  # who comes first
    assert "  trainer      rank 1: exit code 1\n" in run.output
    warnings = [line for line in run.run.launcher_log.read_text().splitlines() if "| WARNING " in line]
    assert [line.rpartition("| ")[2] for line in warnings] == ["trainer: rank 1 ended, exit code 1"]


def test_a_rank_that_fails_at_once_has_its_exit_code_and_its_peers_have_one_too(launch: Launcher) -> None:
    run = launch.sft("import no_such_module", "--nproc", "4")
    assert run.exit_code() == 1
    endings = run.endings()
    failure = run.state().failure
    assert failure is not None
    assert endings.pop(f"rank {failure.rank}") == "exit code 1"
    others = {ending.partition(" (")[0] for ending in endings.values()}
    assert others <= {"ended by launch", "ended by torchrun", "exit code 1"}  # who comes first


@pytest.mark.slow  # test_faults.py kills the same processes one at a time, and looks for what they leave, too
@pytest.mark.parametrize("victim", ["guard", "rank 1", "supervisor", "trainer"])
def test_sigkill_of_any_single_process_leaves_nothing_behind(launch: Launcher, victim: str) -> None:
    run = launch.sft(STUBBORN, "--nproc", "2", "--grace", "1s")
    run.wait_for_ranks(2)
    run.wait_for_output("[trainer0]:rank 0 is there")
    os.kill(run.pid_of(victim), signal.SIGKILL)
    until(lambda: not launch.alive())
    assert run.exit_code() == (-9 if victim == "guard" else 1)


def test_a_second_interrupt_does_not_wait_for_the_grace(launch: Launcher) -> None:
    run = launch.sft(STUBBORN, "--grace", "1000s")
    run.wait_for_output("[trainer0]:rank 0 is there")
    os.kill(run.process.pid, signal.SIGINT)
    run.wait_for_output("launch   stopping")
    os.kill(run.process.pid, signal.SIGINT)
    assert run.exit_code() == 130
    assert run.endings() == {"trainer": "ended by launch (SIGKILL)", "rank 0": "ended by launch (SIGKILL)"}
    assert "  trainer      ended by launch (SIGKILL)\n" in run.output


def test_what_ignores_sigterm_is_killed_after_the_grace(launch: Launcher) -> None:
    run = launch.sft(STUBBORN, "--grace", "1s")
    run.wait_for_output("[trainer0]:rank 0 is there")
    start = time.monotonic()
    os.kill(run.process.pid, signal.SIGTERM)
    assert run.exit_code() == 143
    assert 1 <= time.monotonic() - start < 20  # of the 30 that it has by default


def test_a_hang_up_does_not_end_a_run(launch: Launcher) -> None:
    run = launch.sft("import time, pathlib\nwhile not pathlib.Path('go').exists(): time.sleep(0.05)\nprint('went')")
    run.wait_for_ranks(1)
    os.kill(run.process.pid, signal.SIGHUP)
    until(lambda: "the terminal has gone away" in run.run.launcher_log.read_text())
    (launch.directory / "go").touch()
    assert run.exit_code() == 0


@pytest.mark.slow
def test_a_hang_up_ends_a_run_that_was_told_to_stop_at_one(launch: Launcher) -> None:
    run = launch.sft(PATIENT, "--on-hangup", "stop")
    run.wait_for_output("[trainer0]:rank 0 is there")
    os.kill(run.process.pid, signal.SIGHUP)
    assert run.exit_code() == 129


def test_a_service_that_ends_too_early_fails_the_run(launch: Launcher) -> None:
    config = launch.directory / "service.toml"
    config.write_text('[services.helper]\ncommand = ["sh", "-c", "echo bye; exit 0"]\n')
    run = launch.sft(PATIENT, "@", str(config))
    assert run.exit_code() == 1
    assert "FAILED  helper: ended (exit code 0) while the run still needed it" in run.output
    assert "bye" in run.output


@pytest.mark.slow
def test_the_children_inherit_nothing_of_another_launcher(launch: Launcher) -> None:
    script = "import os\nprint(os.environ.get('PET_TEE'), os.environ['RANK'], os.environ.get('LOCAL_SIZE'))"
    run = launch.sft(script, RANK="7", PET_TEE="0", LOCAL_SIZE="3", WORLD_SIZE="9")
    assert run.exit_code() == 0
    assert "[trainer0]:None 0 None" in run.output


@pytest.mark.slow
def test_rank_files_are_where_the_documents_say(launch: Launcher) -> None:
    script = "import sys\nprint('to stdout')\nprint('to stderr', file=sys.stderr)"
    run = launch.sft(script, "--nproc", "2", "--log-dir", "ranks", "--name", "calm-otter")
    assert run.exit_code() == 0
    for rank in range(2):
        directory = launch.directory / "ranks" / "calm-otter-1" / "attempt_0" / str(rank)
        assert (directory / "stdout.log").read_text() == "to stdout\n"
        assert (directory / "stderr.log").read_text() == "to stderr\n"


@pytest.mark.slow
def test_with_tee_0_the_console_is_empty_and_says_why(launch: Launcher) -> None:
    run = launch.sft("print('unheard')", "--tee", "0")
    assert run.exit_code() == 0
    assert "with --tee 0 the console and trainer.log stay empty" in run.output
    assert "unheard" not in run.output
    assert "unheard" in next(run.run.torchrun.glob("*/attempt_0/0/stdout.log")).read_text()


def test_the_console_shows_only_the_filtered_ranks_and_the_files_have_all(launch: Launcher) -> None:
    script = "import os\nprint('I am', os.environ['RANK'])"
    run = launch.sft(script, "--nproc", "3", "--filter-rank", "0,2")
    assert run.exit_code() == 0
    log = run.run.component_log("trainer").read_text()
    assert ["[trainer0]:I am 0" in log, "I am 1" in log, "[trainer2]:I am 2" in log] == [True, False, True]
    assert "I am 1" in next(run.run.torchrun.glob("*/attempt_0/1/stdout.log")).read_text()


@pytest.mark.slow
def test_a_second_start_in_the_same_directory_is_refused(launch: Launcher) -> None:
    first = launch.sft(PATIENT)
    first.wait_for_output("[trainer0]:rank 0 is there")
    second = launch.sft(PATIENT)
    assert second.exit_code() == 2
    assert "a run is active there (pid" in second.output
    os.kill(first.process.pid, signal.SIGTERM)
    assert first.exit_code() == 143


@pytest.mark.slow
def test_a_closed_pipe_does_not_end_a_run(launch: Launcher) -> None:
    script = launch.directory / "script.py"
    gone = "import pathlib, time\nwhile not pathlib.Path('gone').exists(): time.sleep(0.02)"
    script.write_text(f"{gone}\nfor i in range(20): print('line', i, flush=True)")
    run_it = f"{shlex.quote(LAUNCH)} sft --trainer.script {script} --output-dir run --no-tmux"
    command = f"{run_it} | {{ head -n 1; exec <&-; touch gone; }}"
    done = subprocess.run(
        command, shell=True, cwd=launch.directory, env=launch.environment, capture_output=True, timeout=240
    )
    assert done.stdout.startswith(b"sft run ")
    run = RunDir(launch.directory / "run")
    until(lambda: (state := read_state(run)) and state.state == "finished")
    assert "the console is gone" in run.launcher_log.read_text()
    assert "line 19" in run.component_log("trainer").read_text()
    until(lambda: not launch.alive())
