"""A machine from which runs are submitted to the cluster of the tests' own kubectl."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from launcher.rundir import RunDir
from launcher.runs.state import RunState, read_state
from tests.launching import LAUNCH, Launcher
from tests.tmux_server import TmuxServer
from tests.waiting import until

STAND_IN = Path(__file__).with_name("kubectl.py")
PATIENT = "import signal\nprint('is there', flush=True)\nsignal.pause()"


class Login(Launcher):
    """`launch` on a machine with kubectl and the volume."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.cluster, programs = directory / "cluster", directory / "bin"
        for made in (self.cluster, programs):
            made.mkdir()
        script = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))} "$@"\n'
        (programs / "kubectl").write_text(script)
        (programs / "kubectl").chmod(0o755)
        self.environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "KUBECTL_STATE": str(self.cluster)}
        self.run = RunDir(directory / "run")

    def type(self, *words: str, code: int = 0) -> str:
        argv = [LAUNCH, *words]
        done = subprocess.run(
            argv, cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == code, (words, done.stdout, done.stderr, self.logs())
        return done.stdout + done.stderr

    def submit(self, script: str, *more: str, kind: str = "sft", code: int = 0) -> str:
        (self.directory / "script.py").write_text(script)
        trainer = () if "--trainer.command" in more else ("--trainer.script", "script.py")
        program = (kind, *trainer, "--output-dir", "run", "--name", "otter")
        request = ("--k8s.image", "launch:1", "--k8s.volumes", f"data=claim:{self.directory}")
        return self.type(*program, *request, "--k8s.python", sys.executable, *more, code=code)

    def attach(self, outer: TmuxServer) -> str:
        """`launch attach` in a terminal that stays open after it. The terminal's pane."""
        names = ("HOME", "XDG_STATE_HOME", "PATH", "KUBECTL_STATE", self.mark.partition("=")[0])
        variables = [f"{name}={self.environment[name]}" for name in names]
        typed = shlex.join(["env", "-u", "TMUX", "-u", "TMUX_PANE", *variables, LAUNCH, "attach", "run"])
        return outer.open_terminal("sh", "-c", f"cd {shlex.quote(str(self.directory))}; {typed}; sleep 100")

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.type("status", "run", "--json"))
        return found

    def state(self) -> RunState:
        state = read_state(self.run)
        assert state is not None
        return state

    def jobsets(self) -> list[str]:
        return sorted(file.stem for file in self.cluster.glob("*.json"))

    def pods(self) -> list[dict[str, Any]]:
        kept = [json.loads(file.read_text()) for file in self.cluster.glob("*.json")]
        return [pod for each in kept for pod in each["pods"]]

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in self.cluster.glob("*.log"))

    def wait_for_line(self, text: str, node: int | None = None, component: str = "trainer", attempt: int = 1) -> None:
        log = self.run.on(node).of(attempt).component_log(component)
        try:
            until(lambda: log.exists() and text in log.read_text())
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.logs()}") from None
