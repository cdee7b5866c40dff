"""What a person on the login node types, and what becomes of it."""

import os
import signal
import subprocess
from pathlib import Path

from launcher.rundir import RunDir
from launcher.runs.state import RunState, read_state
from tests.e2e.slurm.cluster import Cluster
from tests.launching import LAUNCH, Launcher
from tests.waiting import until


class Login(Launcher):
    """`launch` with a cluster around it; every process of its jobs carries the mark of its environment."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        super().__init__(directory)
        self.cluster = cluster
        self.environment = {**cluster.environment, **self.environment, "PATH": cluster.environment["PATH"]}
        self.jobs: list[str] = []

    def type(self, *words: str, code: int = 0, seconds: float = 200) -> str:
        """What a command that returns by itself prints; it must end with this exit code."""
        done = subprocess.run(
            [LAUNCH, *words], cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=seconds
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def submit(self, *words: str, directory: str = "run") -> "Submitted":
        """A job of `launch WORDS --slurm`."""
        text = self.type(*words, "--slurm", "--output-dir", directory)
        run = Submitted(self, RunDir(self.directory / directory))
        state = run.state()
        assert state.slurm is not None
        assert f"submitted as job {state.slurm.job}" in text
        run.job = state.slurm.job
        self.jobs.append(run.job)
        return run

    def script(self, text: str, *words: str) -> "Submitted":
        """A job of `launch sft` with a trainer that is given as text."""
        file = self.directory / "script.py"
        file.write_text(text)
        return self.submit("sft", "--trainer.script", str(file), *words)

    def end(self) -> None:
        """Cancel what the test has not ended; AssertionError if a process of any job is left."""
        for job in self.jobs:
            self.cluster.ask("scancel", job)
        try:
            until(lambda: not self.alive())
        except AssertionError:
            left = self.alive()
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"left over: {left}") from None


class Submitted:
    """A run in the queue, or beyond it."""

    def __init__(self, login: Login, run: RunDir) -> None:
        self.login, self.run, self.job = login, run, ""

    def state(self) -> RunState:
        state = read_state(self.run)
        assert state is not None
        return state

    def of_node(self, node: int) -> RunState:
        """What the launch of one node has written."""
        state = read_state(self.run.on(node))
        assert state is not None
        return state

    def wait_for(self, *states: str, attempt: int = 1, seconds: float = 120) -> RunState:
        """Until run.json says one of these of the attempt."""
        try:
            until(lambda: self.state().state in states and self.state().attempt == attempt, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.state()}\n{self.log()}\n{self.login.cluster.logs()}") from None
        return self.state()

    def wait_for_line(self, text: str, attempt: int = 1, seconds: float = 120) -> None:
        """Until the trainer's log has it, that of node 0 if there are several."""
        log = self.run.of(attempt).on(self.state().node).component_log("trainer")
        try:
            until(lambda: log.exists() and text in log.read_text(), seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.log()}\n{self.login.cluster.logs()}") from None

    def log(self) -> str:
        """The output of the batch script."""
        log = self.run.slurm_log(self.job)
        return log.read_text(errors="replace")[-4000:] if log.exists() else "the job has logged nothing"

    def ends_as(self, state: str, code: str, seconds: float = 90) -> None:
        """Until Slurm has the job in its word for this end, with this exit code."""
        found = self.login.cluster.wait_for(self.job, state, seconds)
        assert found["ExitCode"] == code, self.log()
