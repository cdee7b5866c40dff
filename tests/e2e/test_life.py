"""What can be done with a run from outside (detach, stop, resume), and what it does by itself (restart, watchdog)."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.commands.starting.resume import _check_unfinished
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.runs.directory import prepare
from launcher.runs.state import read_state
from launcher.runs.state_file import StateFile, first_state
from launcher.session import make_ready
from launcher.view.metric_curves import read_metrics
from tests.launching import Launched, Launcher
from tests.plans import plan_of, sft
from tests.states import state_of
from tests.waiting import until

pytestmark = pytest.mark.slow  # many launches: CI runs them, and whoever asks for them

PATIENT = "import signal\nprint('is there', flush=True)\nsignal.pause()"
DEAF = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
signal.pause()
"""
FAILS_TWICE = """
import os
attempt = int(os.environ["LAUNCH_ATTEMPT"])
print("attempt", attempt, flush=True)
if attempt == 1:
    raise RuntimeError("fails in attempt 1")
if attempt == 2:
    raise ValueError("fails in attempt 2")
"""
SERVICE = '[services.helper]\ncommand = ["sh", "-c", "echo $$; exec sleep 1000"]\n'


def test_a_resume_adds_what_follows_the_dashes_and_keeps_what_did_before(launch: Launcher) -> None:
    first = launch.sft(
        "import os, sys\nprint([*map(os.fsencode, sys.argv[1:])])", "--", "a=${name}", "{name}", "\udcff"
    )
    assert first.exit_code() == 0, first.output
    assert "[trainer0]:[b'a=${name}', b'{name}', b'\\xff']" in first.output
    assert "[b'a=${name}', b'{name}', b'\\xff', b'{x}']" in launch.command("resume", "run", "--", "{x}").stdout


def test_arguments_of_later_attempts_come_with_a_restart_and_with_a_resume_which_may_add_its_own(
    launch: Launcher,
) -> None:
    says = f"import sys\nprint('given', sys.argv[1:], flush=True)\n{FAILS_TWICE}"
    run = launch.sft(says, "--trainer.resume-args=--init_from=resume", "--max-restarts", "1", "--", "--lr", "1")
    assert run.exit_code() == 1
    assert launch.command("resume", "run", "--", "--lr", "{x}").returncode == 0
    given = [run.run.of(number).component_log("trainer").read_text() for number in (1, 2, 3)]
    assert "given ['--lr', '1']\n" in given[0]
    assert "given ['--lr', '1', '--init_from=resume']\n" in given[1]
    assert "given ['--lr', '1', '--init_from=resume', '--lr', '{x}']\n" in given[2]
    assert '"--lr",\n    "{{x}}"' in run.run.config.read_text() or '"--lr", "{{x}}"' in run.run.config.read_text()


def test_a_run_whose_model_cannot_be_made_has_failed_and_leaves_no_weights_in_memory(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    says = ("sh", "-c", "echo a line >&2; echo the disk is full >&2; exit 3")
    plan = replace(plan_of(sft(), root=tmp_path / "run"), first=(says,), weights_dir=tmp_path / "memory")
    os.close(prepare(plan, clean=False))
    assert list((tmp_path / "memory").iterdir())
    with pytest.raises(UserError, match="the disk is full"):
        make_ready(plan, StateFile(plan.run, first_state(plan, {})))
    state = read_state(plan.run)
    assert state is not None and (state.state, state.exit_code) == ("failed", 2)
    assert not list((tmp_path / "memory").iterdir())


def helper_pid(run: Launched) -> int:
    return int(run.run.of(1).component_log("helper").read_text())


# --- detach and stop --------------------------------------------------------------------------------------------------


def test_a_detached_run_gives_the_prompt_back_and_goes_on_until_it_is_stopped(launch: Launcher) -> None:
    run = launch.sft(PATIENT, "--detach", "--name", "exp-lr3")
    assert run.exit_code() == 0
    assert "it continues in the background; end it with: launch stop exp-lr3\n" in run.output
    assert run.state().state == "running"
    assert len(run.rank_pids()) == 1
    stopped = launch.command("stop", "run")
    assert stopped.returncode == 0
    assert "stopped, its processes have ended" in stopped.stdout
    assert not launch.alive()
    assert run.state().state == "stopped"


def test_stop_in_an_empty_directory_leaves_a_run_elsewhere_alone_and_says_how_to_name_it(launch: Launcher) -> None:
    run = launch("sft", "--trainer.command", "sleep", "--trainer.args", "1000", "--output-dir", "run", "--no-tmux")
    run.wait_for_output("trainer: started")
    (launch.directory / "empty").mkdir()
    refused = launch.command("stop", cwd="empty")
    name = run.state().name
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("launch: there is no run below ./outputs; name a run that is elsewhere\n")
    assert refused.stderr.endswith(f"{run.run.root}\n  such as: launch stop {name}\n")
    assert run.state().state == "running"
    assert launch.command("stop", name[:-1], cwd="empty").returncode == 0
    assert run.exit_code() == 143


def test_ctrl_c_while_a_detached_run_starts_gives_the_prompt_back_and_leaves_the_run_alone(launch: Launcher) -> None:
    run = launch.sft(PATIENT, "--trainer.ready", "tcp://127.0.0.1:1", "--detach", "--name", "exp-lr3")
    run.wait_for_ranks(1)
    run.process.send_signal(signal.SIGINT)
    assert run.exit_code() == 130
    assert "the run continues in the background; end it with: launch stop exp-lr3\n" in run.output
    assert run.state().state == "running"
    assert "stopped, its processes have ended" in launch.command("stop", "run").stdout


def test_a_detached_run_that_cannot_start_fails_with_its_failure_block(launch: Launcher) -> None:
    program = launch.directory / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    run = launch("sft", "--trainer.command", str(program), "--output-dir", "run", "--no-tmux", "--detach")
    assert run.exit_code() == 1
    assert "FAILED  trainer" in run.output
    assert f"No such file or directory: '{program}'" in run.output
    until(lambda: not launch.alive())


def test_stopping_a_run_that_has_ended_is_no_error(launch: Launcher) -> None:
    run = launch.sft("pass")
    assert run.exit_code() == 0
    stopped = launch.command("stop", "run")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert "finished" in stopped.stdout


def test_stop_now_does_not_wait_for_what_ignores_it(launch: Launcher) -> None:
    run = launch.sft(DEAF, "--grace", "1000s")
    run.wait_for_output("[trainer0]:deaf")
    start = time.monotonic()
    assert launch.command("stop", "run", "--now").returncode == 0
    assert time.monotonic() - start < 20
    assert not launch.alive()
    assert run.exit_code() == 131


def test_stop_forces_a_run_after_the_grace_it_was_given(launch: Launcher) -> None:
    run = launch.sft(DEAF, "--grace", "1000s")
    run.wait_for_output("[trainer0]:deaf")
    assert launch.command("stop", "run", "--grace", "500ms").returncode == 0
    assert not launch.alive()
    assert run.exit_code() == 143


# --- resume -----------------------------------------------------------------------------------------------------------


def test_resume_goes_on_from_the_newest_checkpoint_as_the_next_attempt(launch: Launcher) -> None:
    options = ["--output-dir", "run", "--no-tmux", "--trainer.checkpoint.interval", "5", "--max-steps", "10"]
    first = launch("sft", *options)
    assert first.exit_code() == 0, first.output
    log = first.run.component_log("trainer").read_bytes()
    resumed = launch.command("resume", "run", "--max-steps", "15")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "attempt 2" in resumed.stdout
    assert "continuing from" in resumed.stdout
    assert "note         continues from step 10\n" in resumed.stdout
    assert first.run.component_log("trainer").read_bytes() == log
    state = first.state()
    assert (state.attempt, [attempt.state for attempt in state.earlier]) == (2, ["finished"])
    steps = [step["step"] for step in read_metrics(first.run.metrics("trainer"))]
    assert sorted(set(steps)) == list(range(16)) or sorted(set(steps)) == list(range(1, 16))
    assert len(steps) == len(set(steps))


def test_a_run_that_has_made_its_steps_is_not_resumed_without_more(launch: Launcher) -> None:
    first = launch("sft", "--output-dir", "run", "--no-tmux", "--max-steps", "2")
    assert first.exit_code() == 0, first.output
    resumed = launch.command("resume", "run")
    assert resumed.returncode == 2
    assert "--max-steps" in resumed.stderr
    fewer = launch.command("resume", "run", "--max-steps", "1")
    assert "has made 2 steps already, and max_steps is 1" in fewer.stderr


def test_a_run_of_epochs_is_resumed_whatever_max_steps_is(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.checkpoint(200).mkdir(parents=True)
    _check_unfinished(sft("--trainer.epochs", "9"), run, state_of(run))
    with pytest.raises(UserError, match="has made 200 steps already, and max_steps is 150"):
        _check_unfinished(sft(), run, state_of(run))


def test_a_living_run_is_not_resumed(launch: Launcher) -> None:
    run = launch.sft(PATIENT, "--detach")
    assert run.exit_code() == 0
    resumed = launch.command("resume", "run")
    assert resumed.returncode == 2
    assert "launch stop" in resumed.stderr
    assert launch.command("stop", "run").returncode == 0


# --- by itself --------------------------------------------------------------------------------------------------------


def test_restarts_make_new_attempts_and_keep_the_services_up(launch: Launcher) -> None:
    config = launch.directory / "service.toml"
    config.write_text(SERVICE)
    run = launch.sft(FAILS_TWICE, "@", str(config), "--max-restarts", "2")
    assert run.exit_code() == 0
    assert [text in run.output for text in ("attempt 1", "attempt 2", "attempt 3")] == [True] * 3
    state = run.state()
    assert (state.attempt, [attempt.state for attempt in state.earlier]) == (3, ["failed", "failed"])
    helper = next(process for process in state.processes if process.name == "helper")
    assert helper.process is not None
    assert helper.process.pid == helper_pid(run)
    assert not run.run.of(2).component_log("helper").exists()


def test_a_torchrun_that_is_killed_uses_up_one_restart_and_leaves_nothing_to_the_next_attempt(launch: Launcher) -> None:
    script = """
import os, signal, subprocess
if os.environ["LAUNCH_ATTEMPT"] == "1":
    subprocess.Popen(["setsid", "sh", "-c", "sleep 1000 & sleep 1000 & wait"])
    print("is there", flush=True)
    signal.pause()
"""
    run = launch.sft(script, "--nproc", "2", "--max-restarts", "1")
    run.wait_for_output("[trainer0]:is there")
    run.wait_for_ranks(2)
    os.kill(run.pid_of("trainer"), signal.SIGKILL)
    until(lambda: run.state().attempt == 2)
    assert not [line for line in launch.alive().values() if "sleep 1000" in line]
    assert run.exit_code() == 0, run.output
    assert run.state().attempt == 2


def test_when_the_restarts_are_used_up_the_last_failure_is_shown(launch: Launcher) -> None:
    run = launch.sft(FAILS_TWICE, "--max-restarts", "1")
    assert run.exit_code() == 1
    assert "ValueError: fails in attempt 2" in run.output
    assert (
        "  verdict     no restart: trainer rank 0: ValueError: fails in attempt 2; --max-restarts 1 is used up"
        in run.output
    )


def test_a_program_that_fails_twice_in_the_same_way_is_not_started_a_third_time(launch: Launcher) -> None:
    script = """
import os
print("attempt", os.environ["LAUNCH_ATTEMPT"], flush=True)
raise ValueError(f"item {os.getpid()} is empty")
"""
    run = launch.sft(script, "--max-restarts", "5", "--restart-backoff", "0s")
    assert run.exit_code() == 1
    assert run.state().attempt == 2
    assert "FAILED  trainer rank 0: exit code 1" in run.output
    assert "failed in the same way, and no step was made since" in run.output
    first, last = run.state().earlier[0].verdict, run.state().verdict
    assert first is not None and last is not None
    assert (first.again, last.again, last.kind) == (True, False, "own error")
    status = launch.command("status", "run").stdout
    assert "attempt 1 failed after" in status and "; restarts now: trainer rank 0: ValueError: item " in status
    assert "  verdict     no restart: trainer rank 0: ValueError: item " in status


def test_a_program_that_fails_in_the_same_way_right_after_a_new_step_is_started_again(launch: Launcher) -> None:
    fails = "echo step $LAUNCH_ATTEMPT; echo the same words; exit 3"
    program = [f"--trainer.command={word}" for word in ("sh", "-c", fails)]
    restarts = ("--max-restarts", "6", "--restart-backoff", "0s", r"--trainer.progress=step (?P<step>\d+)")
    run = launch("sft", *program, "--output-dir", "run", "--no-tmux", *restarts)
    assert run.exit_code() == 1
    assert run.state().attempt == 7, run.output


def test_a_rank_that_is_killed_from_outside_is_started_again_each_time(launch: Launcher) -> None:
    script = """
import os, signal
if int(os.environ["LAUNCH_ATTEMPT"]) < 3:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    run = launch.sft(script, "--max-restarts", "5", "--restart-backoff", "0.2s")
    assert run.exit_code() == 0, run.output
    assert run.state().attempt == 3
    assert "restarts in 0.2 s: signal: trainer rank 0: SIGKILL" in run.output
    assert "restarts in 0.4 s: signal: trainer rank 0: SIGKILL" in run.output


def test_the_pause_before_a_restart_is_shown_and_ends_at_ctrl_c(launch: Launcher) -> None:
    run = launch.sft("raise ValueError('x')", "--max-restarts", "5", "--restart-backoff", "10m")
    run.wait_for_output("restarts in 10m 00s: trainer rank 0: ValueError: x")
    assert "  restart      attempt 2 begins at " in launch.command("status", "run").stdout
    run.process.send_signal(signal.SIGINT)
    assert run.exit_code() == 130
    assert (run.state().state, run.state().verdict) == ("stopped", None)


def test_a_service_that_dies_is_not_restarted_for(launch: Launcher) -> None:
    config = launch.directory / "service.toml"
    config.write_text('[services.helper]\ncommand = ["sh", "-c", "sleep 2; exit 3"]\n')
    run = launch.sft(PATIENT, "@", str(config), "--max-restarts", "5")
    assert run.exit_code() == 1
    assert "FAILED  helper: exit code 3" in run.output


def test_the_watchdog_ends_a_silent_run_and_names_the_rank_that_stands_apart(launch: Launcher) -> None:
    script = """
import os, signal
def stuck():
    signal.pause()
def waiting():
    signal.pause()
print("is there", flush=True)
stuck() if os.environ["RANK"] == "1" else waiting()
"""
    run = launch.sft(script, "--nproc", "3", "--watchdog", "40s")
    assert run.exit_code() == 1
    assert "FAILED  trainer rank 1: nothing has been logged and no step made for 40s" in run.output
    assert "stuck" in run.run.watchdog_stacks.read_text()


def test_a_run_that_moves_is_left_alone_by_the_watchdog(launch: Launcher) -> None:
    moves = ("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $i; sleep 1; done")  # not torch: it is slow
    program = [f"--trainer.command={word}" for word in moves]
    run = launch("sft", *program, "--output-dir", "run", "--no-tmux", "--watchdog", "10s")
    assert run.exit_code() == 0, run.output


def test_the_watchdog_does_not_count_what_comes_before_the_first_line(launch: Launcher) -> None:
    program = [f"--trainer.command={word}" for word in ("sh", "-c", "sleep 8; echo imported")]
    run = launch("sft", *program, "--output-dir", "run", "--no-tmux", "--watchdog", "3s")
    assert run.exit_code() == 0, run.output


def test_on_exit_gets_the_outcome(launch: Launcher) -> None:
    script = launch.directory / "notify.sh"
    script.write_text('#!/bin/sh\necho "$LAUNCH_RUN $LAUNCH_STATE $LAUNCH_EXIT_CODE $1" > notified\n')
    script.chmod(0o755)
    run = launch.sft("raise SystemExit(3)", "--name", "calm-otter", "--on-exit", f"{script} 'a b'")
    assert run.exit_code() == 1
    assert Path(launch.directory / "notified").read_text() == "calm-otter failed 1 a b\n"


def test_an_on_exit_command_that_fails_changes_nothing_but_the_log(launch: Launcher) -> None:
    run = launch.sft("pass", "--on-exit", "/no/such/program")
    assert run.exit_code() == 0
    assert "--on-exit /no/such/program" in run.run.launcher_log.read_text()
    state = read_state(run.run)
    assert state is not None
    assert state.state == "finished"
