"""User CPU time of `launch logs` on 64 ranks' logs with folding and with --every-line, in turn.

    python benchmarks/log_folding.py [REPETITIONS] [LINES]

Once all ranks log alike, once no two lines of the run are alike. The two forms run one after the other, and of each
such pair the ratio is taken, so that other work on the machine affects both. The time includes the start of Python.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from logs import RANKS, make_run


def user_seconds(command: list[str | Path]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def make_unlike(files: list[Path]) -> None:
    """Each line names the rank that logs it, beside its step."""
    for rank, file in enumerate(files):
        file.write_text(file.read_text().replace("lag 1", f"lag {rank}"))


def compare(title: str, root: Path, repetitions: int) -> None:
    command: list[str | Path] = [Path(sys.executable).with_name("launch"), "logs", root]
    pairs = [(user_seconds(command), user_seconds([*command, "--every-line"])) for _ in range(repetitions)]
    folded, every = (sorted(times) for times in zip(*pairs, strict=True))
    ratio = median(one / other for one, other in pairs)
    print(f"  {title:<13} folded {folded[0]:.2f} to {folded[-1]:.2f} s, every line {every[0]:.2f} to {every[-1]:.2f} s")
    print(f"  {'':<13} ratio: median of the pairs {ratio:.2f}, of the least {folded[0] / every[0]:.2f}")


def main(repetitions: int = 10, lines: int = 10_000) -> None:
    print(f"{RANKS} files of {lines} lines, user CPU time")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "benchmark")
        files = make_run(root, lines)
        compare("all alike", root, repetitions)
        make_unlike(files)
        compare("no two alike", root, repetitions)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
