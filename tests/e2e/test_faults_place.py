"""Faults of the place where a run was started: its terminal, its tmux server, a container, a system without inotify."""

import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from launcher.rundir import RunDir
from launcher.runs.state import RunState, read_state
from tests.e2e.faulty import RL, Ended, Faulty, rl_command, start_rl
from tests.launching import LAUNCH, Launcher
from tests.several_nodes import free_endpoint
from tests.tmux_server import TmuxServer
from tests.waiting import until

pytestmark = pytest.mark.slow  # many launches: CI runs them, and whoever asks for them

FINISHED, TERMINATED = Ended(0, "finished"), Ended(143, "stopped")


# --- its terminal -----------------------------------------------------------------------------------------------------


class Typed:
    """A run that was typed into a shell with job control, in a terminal."""

    def __init__(self, launch: Launcher, tmux: TmuxServer) -> None:
        self.tmux, self.directory, self.run = tmux, launch.directory, RunDir(launch.directory / "run")
        self.pane = tmux.open_terminal("bash", "--norc", "-i")
        own = {name: launch.environment[name] for name in ("HOME", "XDG_STATE_HOME", launch.mark.partition("=")[0])}
        words = ["env", "-C", str(launch.directory), *(f"{name}={value}" for name, value in own.items()), LAUNCH]
        self.type(shlex.join([*words, *rl_command(launch), "--output-dir", "run", "--no-tmux"]) + "; echo code=$?")
        until(lambda: all((launch.directory / f"{part}.there").exists() for part in RL))

    def type(self, text: str) -> None:
        self.tmux.run("send-keys", "-t", self.pane, "-l", text)
        self.tmux.run("send-keys", "-t", self.pane, "Enter")

    @property
    def state(self) -> RunState:
        state = read_state(self.run)
        assert state is not None
        return state

    def finish(self) -> None:
        (self.directory / "finish").touch()
        until(lambda: self.state.state == "finished")


def process_state(pid: int) -> str:
    """As in /proc: "T" for stopped, "Z" for a zombie; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_ctrl_z_and_fg_lose_nothing(launch: Launcher, tmux: TmuxServer) -> None:
    run = Typed(launch, tmux)
    guard = run.state.guard
    assert guard is not None
    tmux.run("send-keys", "-t", run.pane, "C-z")
    until(lambda: process_state(guard.pid) == "T")
    run.finish()
    run.type("fg; echo code=$?")
    assert "finished after" in tmux.wait_for_text(run.pane, "code=0")


def test_launch_stop_ends_a_run_that_ctrl_z_has_stopped(launch: Launcher, tmux: TmuxServer) -> None:
    run = Typed(launch, tmux)
    tmux.run("send-keys", "-t", run.pane, "C-z")
    stopping = launch("stop", "run")
    assert stopping.exit_code() == 0
    assert run.state.state == "stopped"


def test_a_closed_terminal_does_not_end_a_run(launch: Launcher, tmux: TmuxServer) -> None:
    run = Typed(launch, tmux)
    tmux.run("kill-server")
    until(lambda: "the terminal has gone away" in run.run.launcher_log.read_text())
    run.finish()
    until(lambda: not launch.alive())


# --- its panes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_tmux_server_that_goes_does_not_take_the_run_with_it(
    launch: Launcher, tmux: TmuxServer, number: signal.Signals
) -> None:
    launch = launch.other()  # with the environment that leads to this tmux
    faulty = start_rl(launch, "--tmux")
    faulty.wait_until_there()
    server = int(tmux.run("display-message", "-p", "#{pid}"))
    os.kill(server, number)
    until(lambda: process_state(server) in ("", "Z"))
    faulty.touch("finish")
    faulty.check(FINISHED)


def finished_with_panes(launch: Launcher, *options: str) -> str:
    """What the console says of a run that has panes, if there can be any."""
    launch = launch.other()  # with the environment that leads to this tmux
    run = launch("sft", "--trainer.command", "true", "--output-dir", "run", "--name", "calm-otter", *options)
    assert run.exit_code() == 0, run.output
    return run.output


def test_a_run_takes_its_session_with_it_unless_it_was_told_to_keep_it(launch: Launcher, tmux: TmuxServer) -> None:
    tmux.open_terminal()
    assert "launch attach calm-otter" in finished_with_panes(launch)
    until(lambda: tmux.panes("#S") == ["0"])
    assert "launch attach calm-otter" in finished_with_panes(launch, "--clean", "--tmux.keep")
    assert "launch-calm-otter" in tmux.panes("#S")


def test_a_tmux_server_that_is_stopped_costs_a_run_its_panes_and_no_more(launch: Launcher, tmux: TmuxServer) -> None:
    tmux.open_terminal()
    server = int(tmux.run("display-message", "-p", "#{pid}"))
    os.kill(server, signal.SIGSTOP)
    try:
        output = finished_with_panes(launch)
    finally:
        os.kill(server, signal.SIGCONT)
    assert "note         the tmux server has not answered within 2s, so there are no panes" in output
    assert "launch attach" not in output


@pytest.mark.usefixtures("tmux")
def test_a_server_that_ends_unattached_leaves_no_hint_to_panes(launch: Launcher) -> None:
    (launch.directory / ".tmux.conf").write_text("set -s exit-unattached on\n")
    output = finished_with_panes(launch)
    assert "note         tmux closes the panes as soon as nobody is attached" in output
    assert "launch attach" not in output


# --- where it runs ----------------------------------------------------------------------------------------------------


def can(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def under(wrapper: tuple[str, ...], launch: Launcher, *options: str, **codes: str) -> Faulty:
    """A run below another program, which is started in its place."""
    command = [*rl_command(launch, **codes), "--output-dir", "run", *options]
    return Faulty(launch, launch(*command, wrapper=wrapper), RL)


CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc")
NO_INOTIFY = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'
WITHOUT_INOTIFY = ("unshare", "--user", "--map-root-user", "sh", "-c", NO_INOTIFY, "sh")


@pytest.mark.skipif(not can(*CONTAINER, "true"), reason="may not make a namespace of processes")
def test_launch_is_the_first_process_of_a_container(launch: Launcher) -> None:
    daemon = "import subprocess; subprocess.Popen(['sh', '-c', 'setsid sleep 1000 & exit'])"
    faulty = under(CONTAINER, launch, "--no-tmux", orchestrator=daemon)
    faulty.wait_until_there()
    (guard,) = [pid for pid, command in launch.alive().items() if "guard.py" in command]
    os.kill(guard, signal.SIGTERM)
    faulty.check(TERMINATED)
    faulty.check_resume()


@pytest.mark.skipif(not can(*CONTAINER, "true"), reason="may not make a namespace of processes")
def test_the_first_process_of_a_container_hears_sigterm_while_it_waits_for_other_nodes(launch: Launcher) -> None:
    command = ["sft", "--output-dir", "run", "--nnodes", "2", "--node-rank", "0", "--rdzv-endpoint", free_endpoint()]
    launched = launch(*command, wrapper=CONTAINER)
    launched.wait_for_output("node 0 waits for node 1")
    (waiting,) = [pid for pid, words in launch.alive().items() if "unshare" not in words]
    os.kill(waiting, signal.SIGTERM)
    assert launched.process.wait(30) == 143, launched.output
    assert "Traceback" not in launched.output


@pytest.mark.skipif(not can(*WITHOUT_INOTIFY, "true"), reason="may not make a namespace of users")
def test_panes_follow_their_logs_without_inotify(launch: Launcher, tmux: TmuxServer) -> None:
    launch = launch.other()  # with the environment that leads to this tmux
    late = "wait_for('go')\nprint('a late line', flush=True)\n"
    faulty = under(WITHOUT_INOTIFY, launch, orchestrator=late)
    faulty.wait_until_there()
    (pane,) = [row.split()[0] for row in tmux.panes("#{pane_id} #{pane_title}") if row.endswith(" orchestrator")]
    tmux.wait_for_text(pane, "orchestrator line 19")
    faulty.touch("go")
    tmux.wait_for_text(pane, "a late line")
    tmux.run("kill-server")
    faulty.touch("finish")
    faulty.check(FINISHED)
