"""Times `launch logs` on 64 ranks' logs of 100,000 lines, unfiltered, against `cat` on the same files; both in a pipe.

    python benchmarks/logs.py [REPETITIONS] [LINES]

The files are made in a temporary directory (630 MB) and removed afterwards. All ranks log alike, so that 64 lines are
folded into one, except with --every-line. The medians are compared, and
the extremes shown: when the scheduler happens to put `cat` and its reader on one core, it takes a quarter of its time.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from launcher.config.torchrun import TorchrunConfig
from launcher.plan.torchrun import plan_ranks
from launcher.rundir import RunDir
from launcher.runs.state import ProcessState, ProgressState, RankState, RunState

RANKS = 64
START = time.mktime((2026, 11, 23, 3, 10, 2, 0, 0, -1))
LINE = "{stamp}.{thousandths:03} | INFO    | step {step} | loss 0.1234 | grad 0.291 | lag 1 | 19450 tokens/s\n"


def make_run(root: Path, lines: int) -> list[Path]:
    """A finished run of 64 ranks; each logs a line every 10 ms, with an offset of its own. Returns the ranks' files."""
    run = RunDir(root)
    directory = plan_ranks(TorchrunConfig(), RANKS, run.torchrun, "benchmark-1").directory / "attempt_0"
    files = [directory / str(rank) / "stdout.log" for rank in range(RANKS)]
    for rank, file in enumerate(files):
        file.parent.mkdir(parents=True)
        with file.open("w") as log:
            log.writelines(_line(rank, step) for step in range(lines))
    ranks = [RankState(rank=rank, log=file) for rank, file in enumerate(files)]
    state = RunState(
        name="benchmark",
        kind="sft",
        attempt=1,
        state="finished",
        host="",
        boot_id="",
        started=START,
        grace=30,
        progress=ProgressState(component="trainer", metric="loss", max_steps=lines),
        processes=[ProcessState(name="trainer", log=run.component_log("trainer"), ranks=ranks)],
    )
    run.state.write_text(state.model_dump_json())
    return files


def _line(rank: int, step: int) -> str:
    seconds, thousandths = divmod(step * 10 + rank % 10, 1000)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(START + seconds))
    return LINE.format(stamp=stamp, thousandths=thousandths, step=step)


def seconds_through_a_pipe(command: Sequence[str | Path]) -> float:
    """How long `COMMAND | cat >/dev/null` takes, typed in a shell."""
    before = time.perf_counter()
    subprocess.run(["bash", "-o", "pipefail", "-c", '"$@" | cat >/dev/null', "bash", *command], check=True)
    return time.perf_counter() - before


def main(repetitions: int = 5, lines: int = 100_000) -> None:
    launch = Path(sys.executable).with_name("launch")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "benchmark")
        files = make_run(root, lines)
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        commands: dict[str, list[str | Path]] = {
            "cat": ["cat", *files],
            "launch logs": [launch, "logs", root],
            "launch logs --every-line": [launch, "logs", root, "--every-line"],
            "launch logs --no-labels": [launch, "logs", root, "--no-labels"],
            "launch logs --grep": [launch, "logs", root, "--grep", "step 5"],
            "launch logs --level ERROR": [launch, "logs", root, "--level", "ERROR"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(repetitions):
            for name, command in commands.items():
                times[name].append(seconds_through_a_pipe(command))
    reference = median(times["cat"])
    print(f"{RANKS} files of {lines} lines, {megabytes:.0f} MB")
    for name, taken in times.items():
        usual = median(taken)
        ends = f"({min(taken):.2f} to {max(taken):.2f})"
        print(f"  {name:<26} {usual:6.2f} s {ends:<15} {megabytes / usual:6.0f} MB/s {reference / usual:6.2f} of cat")
    print(f"  peak memory of any of them {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
