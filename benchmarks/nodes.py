"""How long after a rank of node 1, or all of node 1, was killed the ranks of node 0 are dead.

Two launches meet on loopback.

python benchmarks/nodes.py [REPETITIONS]
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from statistics import median

from launcher.processes.process_tree import kill_quietly
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


def processes(directory: Path, node: int) -> tuple[list[int], list[int]]:
    """The pids of the node's ranks, once all have started, and those of its launch and torchrun."""
    while True:
        state = read_state(RunDir(directory / "run", node=node))
        found = [rank.process.pid for rank in state.processes[0].ranks if rank.process] if state else []
        if state and len(found) == RANKS:
            every = state.own_processes() | state.component_processes()
            return found, [process.pid for process in every.values() if process and process.pid not in found]
        time.sleep(0.01)


def is_dead(pid: int) -> bool:
    try:
        return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True


def milliseconds(directory: Path, port: int, whole_node: bool) -> tuple[float, float]:
    """From the SIGKILL until the ranks of node 0 are dead, and until both launches have exited."""
    (directory / "script.py").write_text(SCRIPT)
    launches = [start(directory, node, port) for node in (0, 1)]
    (here, _), (there, others) = processes(directory, 0), processes(directory, 1)
    time.sleep(1.0)
    killed = time.perf_counter()
    for pid in (*others, *there) if whole_node else there[-1:]:
        kill_quietly(pid, signal.SIGKILL)  # a guard may have been quicker
    while not all(map(is_dead, here)):
        time.sleep(0.0002)
    dead = time.perf_counter()
    assert [launch.wait() for launch in launches] == [1, -signal.SIGKILL if whole_node else 1]
    return (dead - killed) * 1000, (time.perf_counter() - killed) * 1000


def main(repetitions: int = 5) -> None:
    ports = count(PORT, 2)
    for whole_node in (False, True):
        taken = []
        for _ in range(repetitions):
            with tempfile.TemporaryDirectory() as directory:
                taken.append(milliseconds(Path(directory), next(ports), whole_node))
        print("node 1 killed" if whole_node else "a rank of node 1 killed")
        for name, column in zip(("ranks of node 0 dead", "both launches ended"), zip(*taken, strict=True), strict=True):
            print(f"  {name:<22} {median(column):7.1f} ms ({min(column):.1f} to {max(column):.1f})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
