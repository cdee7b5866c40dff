"""How long after a rank on node 1 was killed the ranks of node 0 are dead; two launches that meet on loopback.

python benchmarks/nodes.py [REPETITIONS]
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from launcher.rundir import RunDir
from launcher.runs.state import read_state

RANKS = 2
PORT = 23480
SCRIPT = "import time\ntime.sleep(1000)\n"


def start(directory: Path, node: int, port: int) -> subprocess.Popen[bytes]:
    launch = str(Path(sys.executable).with_name("launch"))
    where = ("--nnodes", "2", "--node-rank", str(node), "--rdzv-endpoint", f"127.0.0.1:{port}")
    program = ("--trainer.script", "script.py", "--nproc", str(RANKS), "--output-dir", "run", "--no-tmux")
    environment = {**os.environ, "XDG_STATE_HOME": str(directory)}
    return subprocess.Popen(
        [launch, "sft", *where, *program], cwd=directory, env=environment, stdout=subprocess.DEVNULL
    )


def ranks(directory: Path, node: int) -> list[int]:
    """The pids of the node's ranks, once all have started."""
    while True:
        state = read_state(RunDir(directory / "run", node=node))
        found = [rank.process.pid for rank in state.processes[0].ranks if rank.process] if state else []
        if len(found) == RANKS:
            return found
        time.sleep(0.01)


def is_dead(pid: int) -> bool:
    try:
        return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True


def milliseconds(directory: Path, port: int) -> tuple[float, float]:
    """From the SIGKILL of a rank of node 1 until those of node 0 are dead, and until both launches have exited."""
    (directory / "script.py").write_text(SCRIPT)
    launches = [start(directory, node, port) for node in (0, 1)]
    here, there = ranks(directory, 0), ranks(directory, 1)
    time.sleep(1.0)
    killed = time.perf_counter()
    os.kill(there[-1], signal.SIGKILL)
    while not all(map(is_dead, here)):
        time.sleep(0.0002)
    dead = time.perf_counter()
    for launch in launches:
        assert launch.wait() == 1
    return (dead - killed) * 1000, (time.perf_counter() - killed) * 1000


def main(repetitions: int = 5) -> None:
    taken = []
    for number in range(repetitions):
        with tempfile.TemporaryDirectory() as directory:
            taken.append(milliseconds(Path(directory), PORT + 2 * number))
    for name, column in zip(("ranks of node 0 dead", "both launches ended"), zip(*taken, strict=True), strict=True):
        print(f"{name:<22} {median(column):7.1f} ms ({min(column):.1f} to {max(column):.1f})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
