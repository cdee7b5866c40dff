"""What the live view costs, and how soon it shows what has happened.

    python benchmarks/console.py [SECONDS] [STEPS_PER_SECOND]
    python benchmarks/console.py top [SECONDS] [STEPS_PER_SECOND]

A run of one component is started in a pseudo-terminal of 120 by 40. The component prints steps, each with its time.
Measured are the first output after the start, the delay from a step's line until the view shows that step, and the CPU
time that launch's supervisor takes meanwhile, without its start. With `top`, the CPU time of `launch top` is
measured, while it shows all runs and while it shows this one.
"""

import fcntl
import os
import pty
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import psutil

LAUNCH = Path(sys.executable).with_name("launch")
PROGRAM = """
import sys, time
for step in range(1, 1_000_000):
    print(f"step {step} at {time.time()} loss {1 / step}", flush=True)
    time.sleep(1 / float(sys.argv[1]))
"""
PROGRESS = r"step (?P<step>\d+) at (?P<at>[\d.]+) loss (?P<loss>[\d.]+)"
WARM_UP = 5.0  # seconds


def start(directory: Path, rate: float) -> tuple[subprocess.Popen[bytes], int]:
    (directory / "program.py").write_text(PROGRAM)
    words = [sys.executable, "program.py", str(rate)]
    command = [word for each in words for word in ("--trainer.command", each)]
    options = ["--trainer.progress", PROGRESS, "--no-tmux", "--output-dir", "run"]
    return in_terminal(directory, "sft", *command, *options)


def in_terminal(directory: Path, *words: str) -> tuple[subprocess.Popen[bytes], int]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = os.environ | {"XDG_STATE_HOME": str(directory / "state"), "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [LAUNCH, *words],
        cwd=directory,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    return process, ours


class Watched:
    """What the terminal has shown, and when."""

    def __init__(self, terminal: int) -> None:
        self.terminal, self.first, self.seen = terminal, 0.0, dict[int, float]()

    def watch(self, until: float) -> None:
        while (left := until - time.time()) > 0:
            if not select.select([self.terminal], [], [], left)[0]:
                return
            try:
                text = os.read(self.terminal, 1 << 16).decode(errors="replace")
            except OSError:  # the run has ended, and with it the terminal
                return
            self.first = self.first or time.time()
            for step in re.findall(r"step (\d+)", text):
                self.seen.setdefault(int(step), time.time())


def main(seconds: float, rate: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory, began = Path(name), time.time()
        process, terminal = start(directory, rate)
        watched = Watched(terminal)
        while not watched.seen:
            assert process.poll() is None, "launch has ended"
            watched.watch(time.time() + 0.1)
        watched.watch(time.time() + WARM_UP)
        supervisor = max(psutil.Process(process.pid).children(recursive=True), key=_is_launch)
        before, wall = sum(supervisor.cpu_times()[:2]), time.time()
        watched.watch(wall + seconds)
        taken, wall = sum(supervisor.cpu_times()[:2]) - before, time.time() - wall
        shown = dict(watched.seen)  # the summary shows a step again
        process.send_signal(signal.SIGINT)
        watched.watch(time.time() + 2)
        process.wait(30)
        log = (directory / "run" / "logs" / "latest" / "trainer.log").read_text()
        made = {int(step): float(at) for step, at, _ in re.findall(PROGRESS, log)}
    delays = sorted(when - made[step] for step, when in shown.items() if step in made)
    print(f"first output             {1000 * (watched.first - began):6.0f} ms")
    print(f"a step is shown after    {1000 * statistics.median(delays):6.0f} ms, at most {1000 * delays[-1]:.0f} ms")
    print(f"CPU of one core          {100 * taken / wall:6.2f} %, at {rate:g} steps/s")


def top(seconds: float, rate: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        run, terminal = start(directory, rate)
        Watched(terminal).watch(time.time() + WARM_UP)
        for what, words in ("all runs", ["--all"]), ("this run", ["run"]):
            view, its = in_terminal(directory, "top", *words)
            screen = Watched(its)
            screen.watch(time.time() + WARM_UP)
            process = psutil.Process(view.pid)
            before, wall = sum(process.cpu_times()[:2]), time.time()
            screen.watch(wall + seconds)
            taken, wall = sum(process.cpu_times()[:2]) - before, time.time() - wall
            print(f"launch top, {what}     {100 * taken / wall:6.2f} % of one core, at {rate:g} steps/s")
            view.send_signal(signal.SIGTERM)
            view.wait(30)
        run.send_signal(signal.SIGINT)
        Watched(terminal).watch(time.time() + 2)
        run.wait(30)


def _is_launch(process: psutil.Process) -> bool:
    return str(LAUNCH) in process.cmdline()


if __name__ == "__main__":
    is_top = sys.argv[1:2] == ["top"]
    numbers = [float(number) for number in sys.argv[1 + is_top :]]
    (top if is_top else main)(*numbers, *(30.0, 3.0)[len(numbers) :])
