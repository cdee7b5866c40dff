"""Runs of small scripts that are made to fail, and what has to be true of each afterwards."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launcher.rundir import RunDir
from launcher.runs.liveness import living_processes, true_state
from tests.launching import Launched, Launcher
from tests.waiting import until

RL = ("trainer", "orchestrator", "inference")
LINES = 20

BEGINNING = f"""
import os, pathlib, signal, sys, time
name = os.environ["LAUNCH_COMPONENT"] + os.environ.get("RANK", "")
if os.environ["LAUNCH_ATTEMPT"] != "1":
    if name == "inference":
        signal.pause()
    sys.exit(0)
for number in range({LINES}):
    print(name, "line", number, flush=True)
pathlib.Path(name + ".there").touch()

def wait_for(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.005)
"""
ENDING = "\nwait_for('finish' if name != 'inference' else 'never')\n"


@dataclass(frozen=True)
class Ended:
    """How a run has to end."""

    exit_code: int  # launch's own; negative for a signal
    state: str
    culprit: str = ""  # of the failure block; none without
    cause: str = ""  # stands in the failure block
    words: str = (
        ""  # a pattern of the block's third line, which says most; without one it has the cause, or the first does
    )
    within: float = 20.0  # seconds from the fault until no process is left; the grace is 30


class Faulty:
    """A run of scripts in which a fault is about to happen."""

    def __init__(self, launcher: Launcher, run: Launched, parts: tuple[str, ...]) -> None:
        self.launcher, self.run, self.parts = launcher, run, parts

    @property
    def directory(self) -> Path:
        return self.launcher.directory

    def wait_until_there(self) -> None:
        """Every script has logged its lines, and run.json names every process."""
        until(lambda: all((self.directory / f"{part}.there").exists() for part in self.parts) or self.has_ended())
        assert not self.has_ended(), self.run.output
        until(lambda: all(self._is_known(part) for part in self.parts))

    def has_ended(self) -> bool:
        return self.run.process.poll() is not None

    def _is_known(self, part: str) -> bool:
        process = next(process for process in self.run.state().processes if process.name == part.rstrip("0123456789"))
        ranks = [rank.process for rank in process.ranks]
        return process.process is not None and all(ranks)

    def touch(self, name: str) -> None:
        (self.directory / name).touch()

    def send(self, target: str, number: signal.Signals) -> None:
        os.kill(self.run.pid_of(target), number)

    def check(self, expected: Ended) -> None:
        """The run ends as expected, counted from now."""
        self._check_nothing_lives(expected.within)
        assert self.run.exit_code() == expected.exit_code, self.run.output
        self._check_state(expected)
        self._check_failure(expected)
        self._check_logs()

    def _check_nothing_lives(self, within: float) -> None:
        start = time.monotonic()
        # the environment of an exiting process is empty before the process is gone
        until(lambda: not (self.launcher.alive() or living_processes(self.run.state())), within + 20)
        assert time.monotonic() - start < within

    def _check_state(self, expected: Ended) -> None:
        state = self.run.state()
        assert true_state(self.run.run, state) == expected.state
        assert expected.state == "died" or state.exit_code in (expected.exit_code, 1)

    def _check_failure(self, expected: Ended) -> None:
        failure = self.run.state().failure
        if not expected.culprit:
            assert failure is None
            return
        assert failure is not None, self.run.output
        rank = "" if failure.rank is None else f" rank {failure.rank}"
        assert failure.component + rank == expected.culprit, failure.text
        assert expected.cause in failure.text
        self._check_first_lines(expected, failure.text.splitlines())
        assert failure.text in self.run.output
        assert failure.text in self.run.run.launcher_log.read_text()

    def _check_first_lines(self, expected: Ended, block: list[str]) -> None:
        """Who and how, a line of nothing, and the first of its words: what is read before anything else."""
        first, second, third = block[:3]
        assert first.startswith(f"FAILED  {expected.culprit}: "), block
        assert second == "", block
        if expected.words:
            assert re.fullmatch(f"  (?:{expected.words})", third), block
        else:
            assert third.startswith("  ") and third.strip(), block
        assert expected.cause in first or expected.cause in third, block

    def _check_logs(self) -> None:
        for part in self.parts:
            text = log_of(self.run.run, part).read_text(errors="replace")
            assert text.startswith("".join(f"{part} line {number}\n" for number in range(LINES)))

    def check_resume(self) -> None:
        again = self.launcher("resume", "run", "--no-tmux")
        assert again.exit_code() == 0, again.output
        state = again.state()
        assert (state.attempt, state.state, len(state.earlier)) == (2, "finished", 1)


def log_of(run: RunDir, part: str) -> Path:
    """The file that has what a component, or "trainerN" a rank, has printed."""
    if part in RL:
        return run.component_log(part)
    return next(run.torchrun.glob(f"*/attempt_0/{part.removeprefix('trainer')}/stdout.log"))


def start_rl(launch: Launcher, *options: str, **codes: str) -> Faulty:
    """`launch rl` of three scripts that need no torch; `codes` has what each does once it is there."""
    return _start(launch, rl_command(launch, **codes), RL, options)


def rl_command(launch: Launcher, **codes: str) -> list[str]:
    command = ["rl"]
    for name in RL:
        script = launch.directory / f"{name}.py"
        script.write_text(BEGINNING + codes.get(name, "") + ENDING)
        command += [f"--{name}.command={word}" for word in (sys.executable, str(script))]
    return command


def start_ranks(launch: Launcher, code: str = "", *options: str) -> Faulty:
    """`launch sft` of a script under torchrun, with two ranks; `code` is what they do once they are there."""
    script = launch.directory / "script.py"
    script.write_text(BEGINNING + code + ENDING)
    command = ["sft", "--trainer.script", str(script), "--nproc", "2"]
    return _start(launch, command, ("trainer0", "trainer1"), options)


def _start(launch: Launcher, command: list[str], parts: tuple[str, ...], options: tuple[str, ...]) -> Faulty:
    panes = () if "--tmux" in options else ("--no-tmux",)
    return Faulty(launch, launch(*command, "--output-dir", "run", *panes, *options), parts)


Inject = Callable[[Faulty], None]


def sends(target: str, number: signal.Signals) -> Inject:
    return lambda faulty: faulty.send(target, number)


def touches(name: str) -> Inject:
    return lambda faulty: faulty.touch(name)
