"""The live view in a real terminal: what is on the screen, the keys, job control, and what is left behind."""

import os
import re
import shlex
import signal
import subprocess
import time

import pytest

from launcher.processes.process_tree import children
from launcher.rundir import RunDir
from launcher.runs.state import read_state
from tests.launching import LAUNCH, Launcher
from tests.tmux_server import TmuxServer
from tests.waiting import until

SCRIPT = """
import pathlib, sys, time
for step in range(1, 6):
    print(f"step {step}: loss={1 / step}", flush=True)
lines = 0
while not pathlib.Path("finish").exists():
    if pathlib.Path("talk").exists() and lines < 500:
        for lines in range(1, 501):
            print(f"line {lines} of 500")
        sys.stdout.flush()
    time.sleep(0.02)
"""
PROGRESS = r"step (?P<step>\d+): loss=(?P<loss>[\d.]+)"


class Terminal:
    """A shell with job control in which a run was typed."""

    def __init__(self, launch: Launcher, tmux: TmuxServer, *options: str, then: str = "echo code=$?") -> None:
        self.tmux, self.directory = tmux, launch.directory
        (launch.directory / "script.py").write_text(SCRIPT)
        self.pane = tmux.open_terminal("sh", "-c", "bash --norc -i; exit")  # tmux wakes its own children
        tmux.run("set-option", "-t", self.pane, "history-limit", "5000")
        own = {name: launch.environment[name] for name in ("HOME", "XDG_STATE_HOME", launch.mark.partition("=")[0])}
        self.settings = self.stty()
        self.type(f"cd {shlex.quote(str(launch.directory))}; clear")
        program = ["--trainer.command", "python3", "--trainer.command", "script.py", "--trainer.progress", PROGRESS]
        words = [LAUNCH, "sft", *program, "--output-dir", "run", "--name", "otter", "--no-tmux", *options]
        self.type(shlex.join(["env", *(f"{name}={value}" for name, value in own.items()), *words]) + f"; {then}")

    def type(self, text: str) -> None:
        self.tmux.run("send-keys", "-t", self.pane, "-l", text)
        self.tmux.run("send-keys", "-t", self.pane, "Enter")

    def press(self, key: str) -> None:
        self.tmux.run("send-keys", "-t", self.pane, key)

    @property
    def screen(self) -> str:
        return self.tmux.run("capture-pane", "-p", "-t", self.pane)

    @property
    def everything(self) -> str:
        return self.tmux.run("capture-pane", "-p", "-S", "-5000", "-t", self.pane)

    def stty(self) -> str:
        """The settings of the terminal, as the shell's child sees them."""
        device = self.tmux.run("display-message", "-p", "-t", self.pane, "#{pane_tty}").strip()
        return subprocess.run(["stty", "-a", "-F", device], capture_output=True, text=True, check=True).stdout

    def check_settings(self) -> None:
        """A program that is started now gets lines, with an echo, and Ctrl-Z is a signal."""
        self.type("stty -a")
        self.wait_for(r"susp = \^Z")
        assert not re.search(r"-icanon|-echo\b", self.screen)

    def shows_that_the_job_runs(self) -> bool:
        self.type("jobs; echo asked=$?")
        self.wait_for("^asked=0")
        runs = re.search(r"^\[1\]\+ +Running", self.screen, re.MULTILINE) is not None
        self.type("clear")
        until(lambda: "asked=0" not in self.screen)
        return runs

    def wait_for(self, pattern: str) -> None:
        try:
            until(lambda: re.search(pattern, self.screen, re.MULTILINE))
        except AssertionError:
            raise AssertionError(f"{pattern!r} is not on the screen:\n{self.screen}") from None


def test_the_view_shows_the_run_and_leaves_the_screen_clean(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux)
    terminal.wait_for(r"^sft run otter  running")
    terminal.wait_for(r"^  trainer  running, \d+s +\d+ +\d+% +\d+ MB")
    terminal.wait_for(r"^  step 5\b.*\n  loss 0\.2\n +1 ┤")
    terminal.wait_for("l full log  q leave it running  Ctrl-C stop")
    terminal.press("C-c")
    terminal.wait_for(r"^code=130")
    assert "full log" not in terminal.everything
    assert terminal.everything.count("sft run otter") == 1
    assert "sft run otter, attempt 1" in terminal.everything and "run otter stopped after" in terminal.everything
    terminal.check_settings()


def test_ctrl_z_gives_the_terminal_back_as_it_was_and_fg_shows_the_view_again(
    launch: Launcher, tmux: TmuxServer
) -> None:
    terminal = Terminal(launch, tmux)
    terminal.wait_for("full log")
    assert "-icanon" in terminal.stty() and "susp = <undef>" in terminal.stty()
    terminal.press("C-z")
    terminal.wait_for("Stopped")
    assert "full log" not in terminal.screen
    terminal.check_settings()
    terminal.type("fg; echo fg=$?")
    terminal.wait_for("full log")
    (terminal.directory / "finish").touch()
    terminal.wait_for("^fg=0")
    assert "finished after" in terminal.everything


def test_fg_a_moment_after_ctrl_z_shows_the_view_again(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux, then="sleep 0.05; fg; echo fg=$?")
    terminal.wait_for("full log")
    terminal.press("C-z")
    terminal.wait_for("Stopped(.*\n)*.*full log")
    terminal.press("l")  # keys are the view's again
    terminal.wait_for("the log; l shows the view again")
    (terminal.directory / "finish").touch()
    terminal.wait_for("^fg=0")
    terminal.check_settings()


def test_q_gives_the_prompt_back_and_the_run_continues_without_a_console(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux)
    terminal.wait_for("q leave it running")
    terminal.press("q")
    terminal.wait_for("^the run continues in the background\n  launch attach ")
    terminal.wait_for("Stopped")  # until then keys are the view's
    until(terminal.shows_that_the_job_runs)  # it is continued a moment after the shell has said so
    terminal.check_settings()
    run = RunDir(terminal.directory / "run")
    until(lambda: "the console is gone (left with the key q); the run continues" in run.of(1).launcher_log.read_text())
    (terminal.directory / "finish").touch()
    until(lambda: (state := read_state(run)) and state.state == "finished")
    until(lambda: not launch.alive())
    assert "finished after" not in terminal.everything


def test_q_waits_for_a_shell_that_takes_seconds_to_notice(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux)
    terminal.wait_for("q leave it running")
    [shell] = children(int(tmux.run("display-message", "-p", "-t", terminal.pane, "#{pane_pid}")))
    os.kill(shell, signal.SIGSTOP)
    terminal.press("q")
    terminal.wait_for("^the run continues in the background")
    wakes_at = time.monotonic() + 2
    until(lambda: time.monotonic() > wakes_at)
    os.kill(shell, signal.SIGCONT)
    terminal.wait_for("Stopped")
    until(terminal.shows_that_the_job_runs)
    (terminal.directory / "finish").touch()
    until(lambda: not launch.alive())
    assert "nothing here takes the terminal back" not in terminal.everything


def test_without_a_shell_above_it_ctrl_z_and_q_leave_the_view_as_it_is(launch: Launcher, tmux: TmuxServer) -> None:
    (launch.directory / "script.py").write_text(SCRIPT)
    words = [LAUNCH, "sft", "--trainer.command", "python3", "--trainer.command", "script.py", "--output-dir", "run"]
    own = [f"{name}={launch.environment[name]}" for name in ("HOME", "XDG_STATE_HOME", launch.mark.partition("=")[0])]
    pane = tmux.open_terminal("env", "-C", str(launch.directory), *own, *words, "--name", "otter", "--no-tmux")

    def has(text: str) -> bool:
        return text in tmux.run("capture-pane", "-p", "-t", pane)

    until(lambda: has("q leave it running"))
    for key, said in (("C-z", "q leave it running"), ("q", "nothing here takes the terminal back")):
        tmux.run("send-keys", "-t", pane, key)
        until(lambda said=said: has(said))  # type: ignore[misc]
        tmux.run("send-keys", "-t", pane, "l")
        until(lambda: has("the log; l shows the view again"))
        tmux.run("send-keys", "-t", pane, "l")
        until(lambda: has("q leave it running"))
    (launch.directory / "finish").touch()
    until(lambda: not launch.alive())


def test_the_full_log_has_every_line_and_the_view_comes_back(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux)
    terminal.wait_for(r"^  step 5\b")
    terminal.press("l")
    terminal.wait_for("the log; l shows the view again")
    (terminal.directory / "talk").touch()
    terminal.wait_for("^line 500 of 500")
    said = re.findall(r"^line (\d+) of 500", terminal.everything, re.MULTILINE)
    assert said == [str(number) for number in range(1, 501)]
    terminal.press("l")
    terminal.wait_for(r"^  step 5\b")
    (terminal.directory / "finish").touch()
    terminal.wait_for("^code=0")


def test_the_stacks_are_shown_above_the_view(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux)
    terminal.wait_for(r"^  step 5\b")
    terminal.press("s")
    until(lambda: "script.py" in terminal.everything)
    terminal.wait_for("full log")
    (terminal.directory / "finish").touch()
    terminal.wait_for("^code=0")


@pytest.mark.parametrize("width", [50])
def test_a_terminal_that_becomes_narrower_has_one_view(launch: Launcher, tmux: TmuxServer, width: int) -> None:
    terminal = Terminal(launch, tmux)
    terminal.wait_for(r"^  step 5\b")
    tmux.run("resize-window", "-t", terminal.pane, "-x", str(width), "-y", "30")
    terminal.wait_for("full log")
    until(lambda: terminal.screen.count("sft run otter  ") == 1)
    (terminal.directory / "finish").touch()
    terminal.wait_for("^code=0")
    assert "full log" not in terminal.screen


def test_plain_shows_a_terminal_lines_and_nothing_else(launch: Launcher, tmux: TmuxServer) -> None:
    terminal = Terminal(launch, tmux, "--plain")
    terminal.wait_for(r"^\d\d:\d\d:\d\d launch  trainer: started, pid \d+")
    terminal.wait_for("^step 5: loss=0.2")
    assert "full log" not in terminal.screen
    (terminal.directory / "finish").touch()
    terminal.wait_for("^code=0")
