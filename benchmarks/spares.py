"""How long a run is without steps when it loses a node and a spare takes its place.

Three launches of `launch sft` meet on loopback, two nodes and a spare. Node 1 and all its processes are killed. With
`cut` each node has a network namespace (as root), and node 1 is cut off instead: nobody is told.

python benchmarks/spares.py [REPETITIONS] [cut]
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from statistics import median

from launcher.processes.identity import ProcessId, started_at
from launcher.processes.process_tree import kill_quietly
from launcher.rundir import RunDir
from launcher.runs.state import RunState, read_state

PORT = 23980
STEPS = 6  # of the first attempt, before node 1 is lost
STEP = re.compile(r"^(?:\[trainer\d*\]:)?(\S+ \S+) \| INFO    \| step (\d+)/", re.MULTILINE)
SPACES = tuple(f"bench{os.getpid()}{letter}" for letter in "abc")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def spaces() -> Iterator[None]:
    """Three network namespaces, with a cable from each to a switch in the first one."""
    try:
        for name in SPACES:
            ip("netns", "add", name)
        first = SPACES[0]
        ip("-n", first, "link", "add", "name", first, "type", "bridge")
        for name in SPACES[1:]:
            ip("link", "add", "name", name, "netns", first, "type", "veth", "peer", "name", name, "netns", name)
            ip("-n", first, "link", "set", "dev", name, "up", "master", first)
        for number, name in enumerate(SPACES, start=1):
            ip("-n", name, "addr", "add", f"10.214.0.{number}/24", "dev", name)
            ip("-n", name, "link", "set", "dev", "lo", "up")
            ip("-n", name, "link", "set", "dev", name, "up")
        yield
    finally:
        for name in SPACES:
            subprocess.run(["ip", "netns", "del", name], check=False)


def start(directory: Path, node: int, endpoint: str, cut: bool) -> subprocess.Popen[bytes]:
    where = ("--nnodes", "2", "--node-rank", str(node), "--rdzv-endpoint", endpoint)
    outliving = ("--spare-nodes", "1", "--max-restarts", "1")
    training = ("--nproc", "1", "--max-steps", "100000", "--trainer.checkpoint.interval", "5")
    words = [str(Path(sys.executable).with_name("launch")), "sft", *where, *outliving, *training]
    wrapper = ["ip", "netns", "exec", SPACES[node]] if cut else []
    network = {"GLOO_SOCKET_IFNAME": SPACES[node]} if cut else {}
    return subprocess.Popen(
        [*wrapper, *words, "--output-dir", "run", "--no-tmux"],
        cwd=directory,
        env={**os.environ, **network, "XDG_STATE_HOME": str(directory)},
        stdout=subprocess.DEVNULL,
    )


def steps(run: RunDir, attempt: int) -> list[tuple[float, int]]:
    """When each step of the attempt was made, and its number."""
    log = run.of(attempt).on(0).component_log("trainer")
    text = log.read_text() if log.exists() else ""
    return [(datetime.fromisoformat(when).timestamp(), int(step)) for when, step in STEP.findall(text)]


def of(run: RunDir, node: int) -> RunState:
    state = read_state(run.on(node))
    assert state is not None
    return state


def is_dead(pid: int) -> bool:
    try:
        return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True


def trainer_started(state: RunState) -> float:
    process = state.processes[0].process
    found = started_at(process) if process else None
    assert found is not None
    return found


def kill(state: RunState) -> None:
    found: list[ProcessId | None] = [*state.own_processes().values(), *state.component_processes().values()]
    for process in found:
        if process:
            kill_quietly(process.pid, signal.SIGKILL)


def measure(directory: Path, endpoint: str, cut: bool) -> dict[str, float]:
    """Seconds of each part."""
    run = RunDir(directory / "run")
    launches = [start(directory, node, endpoint, cut) for node in range(3)]

    def wait(until: Callable[[], object], pause: float = 0.02) -> None:
        while not until():
            assert launches[0].poll() is None, "the run has ended"
            time.sleep(pause)

    try:
        wait(lambda: [step for _, step in steps(run, 1) if step > STEPS])
        first, other = of(run, 0), of(run, 1)
        began, first_step = trainer_started(first), steps(run, 1)[0][0]
        rank = first.processes[0].ranks[0].process
        assert rank is not None
        lost = time.time()
        if cut:
            ip("-n", SPACES[1], "link", "set", "dev", SPACES[1], "down")
        else:
            kill(other)
        wait(lambda: is_dead(rank.pid), 0.0005)
        dead = time.time()
        wait(lambda: steps(run, 2))
        again, (resumed, step) = [trainer_started(of(run, node)) for node in (0, 2)], steps(run, 2)[0]
        assert step > 1, "the next attempt begins at a checkpoint"
    finally:
        launches[0].send_signal(signal.SIGINT)
        for launch in launches:
            launch.wait()
    return {
        "lost until node 0's rank is dead": dead - lost,
        "dead until both torchruns are started": max(again) - dead,
        "dead until the first step": resumed - dead,
        "the first start: torchrun until the first step": first_step - began,
    }


def main(repetitions: int = 3, cut: bool = False) -> None:
    ports, found = count(PORT, 2), list[dict[str, float]]()
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as directory:
            if cut:
                with spaces():
                    found.append(measure(Path(directory), "10.214.0.1:29500", cut))
            else:
                found.append(measure(Path(directory), f"127.0.0.1:{next(ports)}", cut))
        print("  ".join(f"{seconds:.3f}" for seconds in found[-1].values()), flush=True)
    for name in found[0]:
        column = [each[name] for each in found]
        print(f"  {name:<48} {median(column):7.3f} s ({min(column):.3f} to {max(column):.3f})")


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word != "cut"]
    main(numbers[0] if numbers else 3, "cut" in sys.argv)
