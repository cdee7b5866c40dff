"""Real runs: the `launch` script in a process of its own, found again in /proc whatever it does."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

from launcher.failure.failure import ending_text
from launcher.rundir import RunDir
from launcher.runs.state import RunState, read_state
from tests.waiting import until

LAUNCH = str(Path(sys.executable).with_name("launch"))
PATIENCE = 120.0  # seconds, of a machine that does other things as well


class Launched:
    """One `launch` in the background; its output goes to a file, so that nobody has to drain a pipe."""

    def __init__(
        self, arguments: list[str], cwd: Path, environment: dict[str, str], wrapper: tuple[str, ...] = ()
    ) -> None:
        self.output_file = cwd / f"console-{uuid.uuid4().hex[:8]}.txt"
        self.run = RunDir(cwd / "run")
        with self.output_file.open("wb") as output:
            self.process = subprocess.Popen(
                [*wrapper, LAUNCH, *arguments],
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.output_file.read_text(errors="replace")

    def state(self) -> RunState:
        state = read_state(self.run)
        assert state is not None, self.output
        return state

    def wait_for_output(self, text: str, seconds: float = PATIENCE) -> None:
        until(lambda: text in self.output or self.process.poll() is not None, seconds)
        assert text in self.output, self._tail()

    def wait_for_ranks(self, count: int) -> None:
        """Until run.json knows the pid of so many ranks."""
        until(lambda: len(self.rank_pids()) == count, PATIENCE)

    def rank_pids(self) -> list[int]:
        state = read_state(self.run)
        ranks = [rank for process in (state.processes if state else []) for rank in process.ranks]
        return [rank.process.pid for rank in ranks if rank.process]

    def endings(self) -> dict[str, str]:
        """How the components, and the ranks ("rank 0"), have ended, as `launch status` says it."""
        components = self.state().processes
        ranks = {f"rank {rank.rank}": rank for component in components for rank in component.ranks}
        processes = {component.name: component for component in components} | ranks
        return {name: ending_text(its.exit_code, its.ended_by) for name, its in processes.items()}

    def pid_of(self, name: str) -> int:
        """The pid of "guard", "supervisor", a component, or "rank N"."""
        state = self.state()
        if name.startswith("rank "):
            return self.rank_pids()[int(name.removeprefix("rank "))]
        known = {"guard": state.guard, "watcher": state.watcher, "supervisor": state.supervisor}
        known |= {process.name: process.process for process in state.processes}
        found = known[name]
        assert found is not None
        return found.pid

    def exit_code(self, seconds: float = PATIENCE) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"launch has not ended within {seconds}s:\n{self._tail()}") from None

    def _tail(self) -> str:
        return self.output[-3000:]


class Launcher:
    """Starts `launch` in a directory of the test's own, and finds every process that came of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mark = f"LAUNCHER_TEST={uuid.uuid4()}"
        name, _, value = self.mark.partition("=")
        home = {"HOME": str(directory), "XDG_STATE_HOME": str(directory / "state")}
        self.environment = {**os.environ, **home, name: value}

    def __call__(self, *arguments: str, wrapper: tuple[str, ...] = (), **variables: str) -> Launched:
        return Launched(list(arguments), self.directory, {**self.environment, **variables}, wrapper)

    def command(self, *words: str, cwd: str = ".") -> subprocess.CompletedProcess[str]:
        """A command of launch that returns by itself."""
        return subprocess.run(
            [LAUNCH, *words],
            cwd=self.directory / cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def sft(self, script: str, *arguments: str, **variables: str) -> Launched:
        """`launch sft` of a script that is given as text, in the directory `run` and without panes."""
        file = self.directory / "script.py"
        file.write_text(script)
        common = ["--trainer.script", str(file), "--output-dir", "run", "--no-tmux"]
        return self("sft", *common, *arguments, **variables)

    def alive(self) -> dict[int, str]:
        """pid and command line of each living process with this test's mark in its environment."""
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (directory / "environ").read_bytes().split(b"\0"):
                    command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(directory.name)] = command
            except OSError:
                continue
        return found
