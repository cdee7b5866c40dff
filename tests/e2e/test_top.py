"""`launch top` in a real terminal, on a real run."""

import re
import shlex
import subprocess

import pytest

from launcher.rundir import RunDir
from launcher.runs.state import read_state
from tests.launching import LAUNCH, Launcher
from tests.tmux_server import TmuxServer
from tests.waiting import until

SCRIPT = """
import time
for step in range(1, 100_000):
    print(f"step {step}: loss={1 / step}", flush=True)
    time.sleep(0.1)
"""
PROGRESS = r"step (?P<step>\d+): loss=(?P<loss>[\d.]+)"


@pytest.mark.slow
def test_it_opens_the_run_and_stops_it_after_the_question(launch: Launcher, tmux: TmuxServer) -> None:
    (launch.directory / "script.py").write_text(SCRIPT)
    program = ["--trainer.command", "python3", "--trainer.command", "script.py", "--trainer.progress", PROGRESS]
    started = launch("sft", *program, "--output-dir", "outputs/otter", "--name", "otter", "--no-tmux")
    run = RunDir(launch.directory / "outputs" / "otter")
    until(lambda: (state := read_state(run)) and state.state == "running")
    own = {name: launch.environment[name] for name in ("HOME", "XDG_STATE_HOME", launch.mark.partition("=")[0])}
    pane = tmux.open_terminal("bash", "--norc", "-i", columns=80, lines=24)

    def type_(text: str) -> None:
        tmux.run("send-keys", "-t", pane, "-l", text)
        tmux.run("send-keys", "-t", pane, "Enter")

    def press(key: str) -> None:
        tmux.run("send-keys", "-t", pane, key)

    def wait_for(pattern: str) -> None:
        until(lambda: re.search(pattern, tmux.run("capture-pane", "-p", "-t", pane), re.MULTILINE))

    type_(f"cd {shlex.quote(str(launch.directory))}; clear")
    type_(shlex.join(["env", *(f"{name}={value}" for name, value in own.items()), LAUNCH, "top"]) + "; echo code=$?")
    wait_for(r"^ otter +running +sft")
    press("Enter")
    wait_for(r"^sft run otter  running")
    wait_for(r"^ trainer +\d+ +running +\d+% +\d+ MB")
    wait_for(r"trainer +step \d+: loss [\d.]+\n  loss\n +1 ┤")
    press("x")
    wait_for(r"Stop otter\?")
    press("n")
    until(lambda: "Stop otter?" not in tmux.run("capture-pane", "-p", "-t", pane))
    assert started.process.poll() is None
    press("x")
    wait_for(r"Stop otter\?")
    press("y")
    wait_for(r"^sft run otter  stopped by pid \d+ \(`launch stop ")
    assert started.exit_code() == 143
    press("q")
    wait_for(r"^1 run below ./outputs, 0 alive")
    press("q")
    wait_for("^code=0")


@pytest.mark.parametrize("words", [["top"], ["top", "otter"]])
def test_without_a_terminal_it_is_one_error(launch: Launcher, words: list[str]) -> None:
    done = subprocess.run(
        [LAUNCH, *words],
        cwd=launch.directory,
        env=launch.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("launch: launch top needs a terminal") and "launch status" in done.stderr


def test_without_textual_it_is_said_what_to_type(launch: Launcher, tmux: TmuxServer) -> None:
    """A path entry in front of all others that has textual neither as a package nor as anything else."""
    hidden = launch.directory / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.abc, importlib.machinery, sys\n"
        "find = importlib.machinery.PathFinder.find_spec\n"
        "importlib.machinery.PathFinder.find_spec = classmethod(\n"
        "    lambda cls, name, path=None, target=None: None if name == 'textual' else find(name, path, target))\n"
    )
    pane = tmux.open_terminal(
        "env", f"PYTHONPATH={hidden}", "sh", "-c", f"{shlex.quote(LAUNCH)} top; echo code=$?; sleep 60"
    )
    screen = tmux.wait_for_text(pane, "code=2")
    assert "launch top needs the package textual" in screen and "pip install 'launch-rl[top]'" in screen
