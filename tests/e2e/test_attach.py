"""The key `a` of the live view, outside of tmux: a real terminal, of a tmux server that the run knows nothing of."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from launcher.rundir import RunDir
from launcher.runs.state import read_state
from tests.e2e.test_live_view import PROGRESS, SCRIPT
from tests.launching import LAUNCH, Launcher
from tests.tmux_server import TmuxServer
from tests.waiting import until


@pytest.fixture(autouse=True)
def closed_panes(launch: Launcher, tmux: TmuxServer) -> Iterator[None]:
    """The panes have the test's mark too, and end with their server."""
    yield
    subprocess.run(["tmux", "kill-server"], capture_output=True, check=False)
    until(lambda: not launch.alive())


class Terminal:
    """A shell outside of tmux, for all that launch can see, in which a run with panes was typed."""

    def __init__(self, launch: Launcher, tmux: TmuxServer, script: str = SCRIPT, *options: str) -> None:
        self.panes, self.outer, self.directory = tmux, TmuxServer(tmux.home, "outer"), launch.directory
        self.run = RunDir(launch.directory / "run")
        (launch.directory / "script.py").write_text(script)
        self.pane = self.outer.open_terminal("env", "-u", "TMUX", "-u", "TMUX_PANE", "bash", "--norc", "-i")
        own = {name: launch.environment[name] for name in ("HOME", "XDG_STATE_HOME", launch.mark.partition("=")[0])}
        self.type(f"cd {shlex.quote(str(launch.directory))}; clear")
        program = ["--trainer.command", "python3", "--trainer.command", "script.py", "--trainer.progress", PROGRESS]
        words = [LAUNCH, "sft", *program, "--output-dir", "run", "--name", "otter", *options]
        self.type(shlex.join(["env", *(f"{name}={value}" for name, value in own.items()), *words]) + "; echo code=$?")
        self.wait_for("a attach .*l full log")
        self.panes.run("set-option", "-g", "assume-paste-time", "0")  # keys that a busy server reads at once stay keys

    def type(self, text: str) -> None:
        self.outer.run("send-keys", "-t", self.pane, "-l", text)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.outer.run("send-keys", "-t", self.pane, key)

    def attach(self) -> None:
        self.press("a")
        self.wait_for(r"prefix d leaves|C-b d leaves")
        until(self.clients)

    def clients(self) -> list[str]:
        return self.panes.run("list-clients", "-F", "#{client_width}x#{client_height}").splitlines()

    @property
    def screen(self) -> str:
        return self.outer.run("capture-pane", "-p", "-t", self.pane)

    @property
    def everything(self) -> str:
        return self.outer.run("capture-pane", "-p", "-S", "-", "-t", self.pane)

    def wait_for(self, pattern: str) -> None:
        try:
            until(lambda: re.search(pattern, self.screen, re.MULTILINE))
        except AssertionError:
            raise AssertionError(f"{pattern!r} is not on the screen:\n{self.screen}") from None

    def check_settings(self) -> None:
        """A program that is started now gets lines, with an echo, on the normal screen."""
        self.type("stty -a")
        self.wait_for(r"susp = \^Z")
        assert not re.search(r"-icanon|-echo\b|-isig", self.screen)
        modes = "#{alternate_on}#{mouse_any_flag}#{keypad_cursor_flag}#{cursor_flag}"
        assert self.outer.run("display-message", "-p", "-t", self.pane, modes) == "0001"

    def shows_the_view_and_ends(self) -> None:
        self.wait_for("l full log")
        self.finish()
        self.wait_for("^code=0")

    def finish(self) -> None:
        (self.directory / "finish").touch()

    def pids(self) -> list[int]:
        state = read_state(self.run)
        assert state is not None
        return [process.process.pid for process in state.processes if process.process]


def test_a_shows_the_panes_and_after_detaching_the_view_is_there_again(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux)
    terminal.wait_for(r"^  step 5\b")
    before = terminal.pids()
    for _ in range(2):
        terminal.attach()
        terminal.press("C-b", "d")
        terminal.wait_for(r"^  step 5\b(.*\n)*.*l full log")
        assert terminal.everything.count("l full log") == 1 and "detached" not in terminal.everything
    assert terminal.pids() == before
    terminal.press("l")  # keys are the view's again
    terminal.wait_for("the log; l shows the view again")
    terminal.finish()
    terminal.wait_for("^code=0")
    assert "run otter finished after" in terminal.everything
    terminal.check_settings()


def test_ctrl_c_in_the_panes_is_a_key_of_tmux(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux)
    terminal.attach()
    terminal.press("C-c", "C-c", "C-z", "C-b", "d")
    terminal.shows_the_view_and_ends()


def test_the_panes_follow_the_size_of_the_terminal(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux)
    terminal.attach()
    terminal.outer.run("resize-window", "-t", terminal.pane, "-x", "100", "-y", "30")
    until(lambda: terminal.clients() == ["100x30"])
    terminal.press("C-b", "d")
    terminal.shows_the_view_and_ends()


def test_the_end_of_the_run_detaches_and_shows_the_summary(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux)
    terminal.attach()
    terminal.finish()
    terminal.wait_for("^code=0")
    assert "run otter finished after" in terminal.everything and "l full log" not in terminal.everything
    terminal.check_settings()
    until(lambda: not tmux_runs(terminal.clients))  # nobody is attached, so the session goes with its run


def tmux_runs(asked: Callable[[], object]) -> bool:
    try:
        asked()
    except AssertionError:
        return False
    return True


RESTARTED = """
import os, pathlib, sys, time
print("step 1: loss=1", flush=True)
while not pathlib.Path("fail").exists():
    time.sleep(0.02)
if not pathlib.Path("failed").exists():
    pathlib.Path("failed").touch()
    sys.exit("a fault")
while not pathlib.Path("finish").exists():
    time.sleep(0.02)
"""


def test_whoever_is_attached_stays_so_when_an_attempt_fails(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux, RESTARTED, "--max-restarts", "2", "--restart-backoff", "0")
    terminal.attach()
    first = terminal.pids()
    (terminal.directory / "fail").touch()
    until(lambda: (state := read_state(terminal.run)) and state.attempt == 2 and terminal.pids() not in ([], first))
    assert len(terminal.clients()) == 1
    terminal.press("C-b", "d")
    terminal.wait_for("attempt 2(.*\n)*.*l full log")
    terminal.finish()
    terminal.wait_for("^code=0")


def test_suspending_the_client_shows_the_view(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux)
    terminal.attach()
    terminal.press("C-b", "C-z")
    terminal.wait_for("l full log")
    until(lambda: not terminal.clients())
    terminal.finish()
    terminal.wait_for("^code=0")
    terminal.check_settings()


def test_closed_panes_are_not_opened_below_the_run(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux)
    tmux.run("kill-server")
    terminal.press("a")
    terminal.wait_for("^the panes are closed; open them again in another terminal: launch attach otter")
    assert not tmux_runs(terminal.clients)
    terminal.finish()
    terminal.wait_for("^code=0")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_tmux_server_that_ends_gives_the_view_back(
    launch: Launcher, tmux: TmuxServer, number: signal.Signals
) -> None:
    terminal = Terminal(launch, tmux)
    terminal.attach()
    os.kill(int(tmux.run("display-message", "-p", "#{pid}")), number)
    terminal.shows_the_view_and_ends()
    terminal.check_settings()


def test_a_tmux_server_that_is_stopped_does_not_keep_the_summary(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux)
    terminal.attach()
    server = int(tmux.run("display-message", "-p", "#{pid}"))
    os.kill(server, signal.SIGSTOP)
    try:
        terminal.finish()
        terminal.wait_for("^code=0")
        assert "run otter finished after" in terminal.everything
        terminal.check_settings()
    finally:
        os.kill(server, signal.SIGCONT)
