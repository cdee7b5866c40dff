"""Real runs: the `launch` script in a process of its own, found again in /proc whatever it does."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from launcher.failure.failure import ending_text
from launcher.rundir import RunDir
from launcher.runs.state import RunState, read_state
from tests.waiting import until

LAUNCH = str(Path(sys.executable).with_name("launch"))
PATIENCE = 240.0  # seconds, of a slow machine that does other things as well
LEAVING = 10.0  # seconds that the last processes of a run may take after launch itself


def kill_at_once(pids: Iterable[int]) -> None:
    """SIGKILL to all of them: none runs on to see the end of another. Parents come first: they wake their children."""
    pids = list(pids)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)


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

    def kill(self) -> None:
        """End it, if a test that failed has left it, and wait for it: nobody else does."""
        self.process.kill()
        self.process.wait()

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
        self._started: list[Launched] = []
        self._others: list[Launcher] = []

    def __call__(self, *arguments: str, wrapper: tuple[str, ...] = (), **variables: str) -> Launched:
        launched = Launched(list(arguments), self.directory, {**self.environment, **variables}, wrapper)
        self._started.append(launched)
        return launched

    def other(self, directory: Path | None = None) -> "Launcher":
        """Another launcher, with the environment of now; what it starts ends with this one."""
        made = Launcher(directory or self.directory)
        self._others.append(made)
        return made

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

    def kill_the_rest(self) -> dict[int, str]:
        """Kill what is still alive when the runs have had time to end, and wait for each `launch`. Returns it."""
        with suppress(AssertionError):
            until(lambda: not self._left(), LEAVING)
        left = self._left()
        while living := self._left():
            for pid in living:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for launched in [*self._started, *(each for other in self._others for each in other._started)]:
            launched.kill()
        return left

    def _left(self) -> dict[int, str]:
        """What is alive, also of the other launchers, but for tmux servers, which their own fixture ends."""
        alive = self.alive().items()
        left = {pid: command for pid, command in alive if "tmux" not in command.split(" ")[0]}
        for other in self._others:
            left |= other._left()
        return left


@contextmanager
def launcher_in(directory: Path) -> Iterator[Launcher]:
    """A launcher of the test's own; nothing that it has started may be left at the end."""
    launcher = Launcher(directory)
    try:
        yield launcher
    except BaseException:
        launcher.kill_the_rest()
        raise
    left = launcher.kill_the_rest()
    assert not left, f"left over: {left}"
