"""Starts the same four workers under launch, torchrun, honcho and circus, and measures how each of them ends them.

    python benchmarks/supervision.py [REPETITIONS]

honcho and circus are installed from the package index into a temporary environment, and left out when that fails. The
ratios are those of the medians to launch's. Takes two minutes, and one and a half more for each repetition.
"""

import os
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

WORKERS = 4
GRACE = 5  # seconds that a worker which ignores SIGTERM is given
NEVER = 9.0  # seconds after which an end is not waited for any more
WATCHED = 20.0  # seconds over which the CPU time of a launcher is taken
MEGABYTES, FLOOD_SECONDS = 1000, 3  # that a worker writes, whichever is reached first
SCRIPT_SECONDS = 10

WORKER = f"""
import os, pathlib, signal, subprocess, sys, time
number = os.environ.get("RANK", sys.argv[1] if len(sys.argv) > 1 else None)
fault = pathlib.Path("fault").read_text()
if number == "3" and fault == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if number == "3" and fault == "grandchild":
    grandchild = subprocess.Popen(["setsid", "sleep", "1000"])
    while os.getsid(grandchild.pid) != grandchild.pid:
        time.sleep(0.001)
pathlib.Path(f"draft.{{number}}").write_text(f"{{os.getpid()}} {{time.monotonic()}}")
os.rename(f"draft.{{number}}", f"worker.{{number}}")
if number == "1" and fault == "flood":
    block, start, written = (b"y" * 99 + b"\\n") * 1000, time.monotonic(), 0
    while written < {MEGABYTES} * 10**6 and time.monotonic() < start + {FLOOD_SECONDS}:
        written += os.write(1, block)
    pathlib.Path("speed").write_text(str(written / 10**6 / (time.monotonic() - start)))
while not (number == "0" and os.path.exists("go")):
    time.sleep(0.001 if number == "0" and fault in ("none", "deaf") else 1000)
pathlib.Path("failed").write_text(str(time.monotonic()))
os._exit(7)
"""


@dataclass
class Launcher:
    """A program that starts the workers; `command` writes what it needs into the directory."""

    name: str
    command: Callable[[Path], list[str]]
    results: dict[str, list[float]] = field(default_factory=dict)


def launch(directory: Path) -> list[str]:
    services = f'[services.third]\ncommand = ["{sys.executable}", "worker.py", "3"]\n'
    (directory / "services.toml").write_text(services)
    command = [_program("launch"), "rl", "@", "services.toml", "--no-tmux", "--output-dir=run", f"--grace={GRACE}s"]
    for number, name in enumerate(("trainer", "orchestrator", "inference")):
        command += [f"--{name}.command={word}" for word in (sys.executable, "worker.py", str(number))]
    return command


def torchrun(directory: Path) -> list[str]:
    flags = ["--redirects=3", "--tee=3", "--local-ranks-filter=1", "--log-dir=logs", f"--shutdown-timeout={GRACE}"]
    return [_program("torchrun"), f"--nproc-per-node={WORKERS}", *flags, "worker.py"]


def honcho(programs: Path, directory: Path) -> list[str]:
    lines = [f"w{number}: exec {sys.executable} worker.py {number}\n" for number in range(WORKERS)]
    (directory / "Procfile").write_text("".join(lines))
    return [str(programs / "honcho"), "start"]  # its grace is 5 seconds


def circus(programs: Path, directory: Path) -> list[str]:
    watcher = "[watcher:w{n}]\ncmd = {python}\nargs = worker.py {n}\ngraceful_timeout = {grace}\ncopy_env = True\n"
    stream = "stdout_stream.class = FileStream\nstdout_stream.filename = w{n}.log\nrespawn = False\n"
    parts = [(watcher + stream).format(n=n, python=sys.executable, grace=GRACE) for n in range(WORKERS)]
    sockets = f"[circus]\nendpoint = ipc://{directory}/a\npubsub_endpoint = ipc://{directory}/b\n"
    (directory / "circus.ini").write_text(sockets + "".join(parts))
    return [str(programs / "circusd"), "circus.ini"]


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


# --- one start --------------------------------------------------------------------------------------------------------


class Started:
    """The four workers under one launcher, with a fault about to happen."""

    def __init__(self, launcher: Launcher, directory: Path, fault: str) -> None:
        self.directory = directory
        (directory / "worker.py").write_text(WORKER)
        (directory / "fault").write_text(fault)
        self.mark = f"BENCHMARK={uuid.uuid4()}"
        environment = {**os.environ, "BENCHMARK": self.mark.partition("=")[2], "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # pip compiles what it installs, but not this checkout
        with (directory / "console").open("wb") as console:
            self.begun = time.monotonic()
            self.process = subprocess.Popen(
                launcher.command(directory),
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        files = [self.wait_for(f"worker.{number}") for number in range(WORKERS)]
        self.workers = [int(text.split()[0]) for text in files]
        self.all_started = max(float(text.split()[1]) for text in files) - self.begun

    def wait_for(self, name: str) -> str:
        """The text of a file that one of the workers writes."""
        path, deadline = self.directory / name, time.monotonic() + 60
        while not path.exists() or not path.read_text():
            assert time.monotonic() < deadline, (self.directory / "console").read_text()[-2000:]
            time.sleep(0.005)
        return path.read_text()

    def until_dead(self, workers: list[int], since: Callable[[], float]) -> float:
        """Seconds until none of the workers lives; infinite when that takes too long."""
        open_, deadline = [os.pidfd_open(pid) for pid in workers], time.monotonic() + NEVER
        since_then = since()
        last = since_then
        while open_ and time.monotonic() < deadline:
            for descriptor in select.select(open_, [], [], 0.1)[0]:
                last = time.monotonic()
                open_.remove(descriptor)
                os.close(descriptor)
        for descriptor in open_:
            os.close(descriptor)
        return float("inf") if open_ else max(0.0, last - since_then)

    def signal(self, number: signal.Signals) -> float:
        os.kill(self.process.pid, number)
        return time.monotonic()

    def fail(self) -> float:
        """Let worker 0 exit with 7; the time at which it did."""
        (self.directory / "go").touch()
        return float(self.wait_for("failed"))

    def marked(self) -> list[int]:
        """All processes that came of this start."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self.mark.encode() in (directory / "environ").read_bytes().split(b"\0"):
                    found.append(int(directory.name))
        return found

    def own(self) -> list[int]:
        """The launcher's own processes."""
        return [pid for pid in self.marked() if pid not in self.workers]

    def end(self) -> None:
        while left := self.marked():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        self.process.wait()


@contextmanager
def started(launcher: Launcher, fault: str = "none") -> Iterator[Started]:
    with tempfile.TemporaryDirectory(prefix="supervision-") as directory:
        begun = Started(launcher, Path(directory), fault)
        try:
            yield begun
        finally:
            begun.end()


# --- what is measured -------------------------------------------------------------------------------------------------


def start_and_failure(launcher: Launcher) -> dict[str, float]:
    with started(launcher) as run:
        dead = run.until_dead(run.workers[1:], run.fail)
        return {"start of all workers, s": run.all_started, "one exits 7, until the others are dead, s": dead}


def deaf(launcher: Launcher) -> dict[str, float]:
    with started(launcher, "deaf") as run:
        return {f"the same, one ignores SIGTERM (grace {GRACE} s), s": run.until_dead(run.workers[1:], run.fail)}


def termination(launcher: Launcher) -> dict[str, float]:
    with started(launcher) as run:
        return {"SIGTERM until all are dead, s": run.until_dead(run.workers, lambda: run.signal(signal.SIGTERM))}


def kill(launcher: Launcher) -> dict[str, float]:
    with started(launcher) as run:
        run.signal(signal.SIGKILL)
        time.sleep(0.5)
        return {"SIGKILL of the launcher, survivors after 0.5 s": float(len(set(run.marked()) & set(run.workers)))}


def grandchild(launcher: Launcher) -> dict[str, float]:
    with started(launcher, "grandchild") as run:
        run.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            run.process.wait(NEVER)
        return {"a setsid grandchild at SIGTERM, survivors": float(len(run.marked()))}


def idle(launcher: Launcher) -> dict[str, float]:
    with started(launcher, "idle") as run:
        time.sleep(3)  # what starts late is not part of the waiting
        own = run.own()
        before = sum(map(_cpu_seconds, own))
        time.sleep(WATCHED)
        per_hour = (sum(map(_cpu_seconds, own)) - before) * 3600 / WATCHED
        return {"CPU seconds an hour while waiting": per_hour, "resident memory, MB": sum(map(_megabytes, own))}


def _cpu_seconds(pid: int) -> float:
    """From the scheduler, whose clock is finer than that of /proc/PID/stat."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _megabytes(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found.group(1)) / 1024 if found else 0.0


def log_path(launcher: Launcher) -> dict[str, float]:
    with started(launcher, "flood") as run:
        return {"through the log path, MB/s": float(run.wait_for("speed"))}


MEASUREMENTS = (start_and_failure, termination, kill, grandchild, log_path)
ONCE = (deaf, idle)  # these take their time


def plain_file(directory: Path) -> list[str]:
    """No launcher at all: the workers in the background of a shell, each with its output in a file."""
    lines = [f"{sys.executable} worker.py {number} > {number}.log &\n" for number in range(WORKERS)]
    return ["sh", "-c", "".join(lines) + "wait"]


def script_times(repetitions: int) -> dict[str, list[float]]:
    """Wall time of a script with two ranks, under launch and under a bare torchrun with the same flags."""
    flags = ["--redirects=3", "--tee=3", "--local-ranks-filter=0"]
    own = ["--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--rdzv-id=a", "--log-dir=logs"]
    times: dict[str, list[float]] = {"launch": [], "torchrun": []}
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "script.py").write_text(f"import time; time.sleep({SCRIPT_SECONDS})\n")
            commands = {
                "launch": [_program("launch"), "sft", "--trainer.script=script.py", "--nproc=2", "--no-tmux", *flags],
                "torchrun": [_program("torchrun"), *own, *flags, "script.py"],
            }
            for name, command in commands.items():
                before = time.monotonic()
                subprocess.run(command, cwd=directory, capture_output=True, check=True)
                times[name].append(time.monotonic() - before)
    return times


# --- the table --------------------------------------------------------------------------------------------------------


def install_peers(directory: Path) -> list[Launcher]:
    """honcho and circus in an environment of their own; none when they cannot be installed."""
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    programs = directory / "bin"
    done = subprocess.run([programs / "pip", "install", "-q", "honcho", "circus"], capture_output=True, text=True)
    if done.returncode:
        print(f"without honcho and circus, which cannot be installed: {done.stderr.splitlines()[-1:]}")
        return []
    return [
        Launcher("honcho", lambda directory: honcho(programs, directory)),
        Launcher("circus", lambda directory: circus(programs, directory)),
    ]


def measure(launchers: list[Launcher], repetitions: int) -> None:
    """Every repetition takes all launchers in turn, so that a busy moment of the machine meets each of them."""
    for repetition in range(repetitions):
        for measurement in (*MEASUREMENTS, *(ONCE if repetition == 0 else ())):
            for launcher in launchers:
                for name, value in measurement(launcher).items():
                    launcher.results.setdefault(name, []).append(value)


def print_table(launchers: list[Launcher]) -> None:
    print(f"{'median (least-most), ratio to launch':52}" + "".join(f"{each.name:>32}" for each in launchers))
    for name in launchers[0].results:
        reference = statistics.median(launchers[0].results[name])
        print(f"{name:52}" + "".join(f"{_cell(each.results[name], reference):>32}" for each in launchers))


def _cell(values: list[float], reference: float) -> str:
    middle = statistics.median(values)
    if middle == float("inf"):
        return f"not within {NEVER:g} s"
    spread = f" ({min(values):.3g}-{max(values):.3g})" if len(values) > 1 else ""
    ratio = f" {middle / reference:.2f}x" if reference else ""
    return f"{middle:.3g}{spread}{ratio}"


def main(repetitions: int = 5) -> None:
    with tempfile.TemporaryDirectory() as directory:
        launchers = [Launcher("launch", launch), Launcher("torchrun", torchrun), *install_peers(Path(directory))]
        measure(launchers, repetitions)
        print_table(launchers)
        plain = Launcher("no launcher", plain_file)
        speeds = [
            log_path(each)["through the log path, MB/s"] for _ in range(repetitions) for each in (plain, launchers[0])
        ]
    ratio = statistics.median(speeds[1::2]) / statistics.median(speeds[::2])
    print(f"\nlog path: launch {ratio:.2f} of a plain file ({statistics.median(speeds[::2]):.0f} MB/s)")
    print_script_times(script_times(repetitions))


def print_script_times(times: dict[str, list[float]]) -> None:
    ours, theirs = statistics.median(times["launch"]), statistics.median(times["torchrun"])
    pairs = sorted(own / bare for own, bare in zip(times["launch"], times["torchrun"], strict=True))
    print(f"a script of {SCRIPT_SECONDS} s: launch sft {ours:.2f} s, torchrun {theirs:.2f} s: {ours / theirs:.3f}")
    print(f"  (from {pairs[0]:.3f} to {pairs[-1]:.3f}, each against its neighbour)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
