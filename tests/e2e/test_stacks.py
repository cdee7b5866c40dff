"""`launch stacks` on a run that hangs."""

import re
import subprocess

import pytest

from tests.launching import LAUNCH, Launched, Launcher
from tests.several_nodes import Nodes
from tests.waiting import until

pytestmark = pytest.mark.slow  # many launches: CI runs them, and whoever asks for them

HUNG = """
import time
import torch
import torch.distributed as dist

def load_batch():
    time.sleep(1000)

dist.init_process_group("gloo")
if dist.get_rank() == 1:
    load_batch()
dist.all_reduce(torch.ones(1))
"""


def stacks(launch: Launcher, *arguments: str) -> tuple[int, str]:
    """The exit code and all output of `launch stacks`."""
    done = subprocess.run(
        [LAUNCH, "stacks", *arguments],
        cwd=launch.directory,
        env=launch.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout


def stop(run: Launched) -> None:
    run.process.terminate()
    run.exit_code()


def test_a_rank_that_the_others_wait_for_is_named(launch: Launcher) -> None:
    run = launch.sft(HUNG, "--nproc", "2")
    run.wait_for_ranks(2)
    until(lambda: "waits in all_reduce" in (text := stacks(launch, "run")[1]) and "load_batch" in text)
    code, text = stacks(launch, "run")
    assert code == 0
    assert "rank 0 waits in all_reduce, called by <module> (script.py:12)" in text
    assert "rank 1 waits in load_batch (script.py:7)" in text
    assert "trainer (torchrun) waits in" in text
    assert text.endswith("straggler: rank 1\n")
    code, text = stacks(launch, "run", "--rank", "1")
    assert code == 0
    assert "all_reduce" not in text
    stop(run)
    code, text = stacks(launch, "run")
    assert code == 2
    assert text.startswith(f"launch: {run.state().name} is not running\n")


LAGGING = """
import time
import torch
import torch.distributed as dist
from launcher import setup_logger

setup_logger()
dist.init_process_group("gloo")
for _ in range(3):
    dist.all_reduce(torch.ones(1))
print("three done", flush=True)
if dist.get_rank() == 1:
    time.sleep(1000)
dist.all_reduce(torch.ones(1))
"""


def test_the_watchdog_names_the_collective_that_a_rank_never_enqueued_and_the_file_to_open(launch: Launcher) -> None:
    run = launch.sft(LAGGING, "--nproc", "4", "--trainer.watchdog", "60s", "--grace", "3s")
    run.wait_for_ranks(4)
    until(lambda: "rank 1 " in (text := stacks(launch, "run")[1]) and "all_reduce 4 of the default group" in text)
    assert run.exit_code() == 1
    block = run.output.partition("FAILED  ")[2].splitlines()
    assert block[0] == "trainer rank 1: nothing has been logged and no step made for 60s"
    assert re.fullmatch(
        r"  rank 1 never enqueued all_reduce 4 of the default group; ranks 0, 2 and 3 wait in it since \d\d:\d\d:\d\d",
        block[2],
    )
    assert block[3:6] == [
        "  ranks 0, 2 and 3 wait in all_reduce (script.py:14)",
        "  rank 1 waits in <module> (script.py:13)",
        "  straggler: rank 1",
    ]
    assert block[7] == "  log         run/logs/attempt_1/stacks.txt"
    assert "Traceback" not in "\n".join(block)
    assert not run.run.sockets.exists()
    errors = list(run.run.torchrun.glob("*/attempt_0/*/stderr.log"))
    assert len(errors) == 4
    assert not [path for path in errors if "Server listening" in path.read_text()]


LATE = "rank 1 on node 1: the others waited for it"
LATE_THEN_HUNG = """
import pathlib, threading, time
def talk():
    while not pathlib.Path("quiet").exists():
        print("active", flush=True)
        time.sleep(0.2)
threading.Thread(target=talk).start()
import torch
import torch.distributed as dist
from launcher import setup_logger

setup_logger()
dist.init_process_group("gloo")
while dist.get_rank() == 0 or not pathlib.Path("hang").exists():
    time.sleep(0.02 + 0.1 * dist.get_rank())
    dist.all_reduce(torch.ones(1))
time.sleep(1000)
"""


def test_on_several_nodes_any_of_them_shows_all_and_the_watchdog_names_the_rank_of_another_node(
    launch: Launcher,
) -> None:
    (launch.directory / "script.py").write_text(LATE_THEN_HUNG)
    nodes = Nodes(launch, "sft", "--nnodes", "2", "--trainer.script", "script.py", "--watchdog", "40s", shared=False)
    for run in ("run_0", "run_1"):
        until(lambda run=run: LATE in launch.command("status", run).stdout)  # type: ignore[misc]
    (launch.directory / "hang").touch()
    never = re.compile(
        r"^rank 1 (never|has not) enqueued all_reduce \d+ of the default group; rank 0 waits in it", re.MULTILINE
    )
    for run in ("run_0", "run_1"):
        until(lambda run=run: never.search(stacks(launch, run)[1]))  # type: ignore[misc]
        code, text = stacks(launch, run)
        assert code == 0, text
        assert "rank 0 waits in all_reduce, called by <module> (script.py:16)" in text
        assert "rank 1 waits in <module> (script.py:17)" in text
        assert "trainer (torchrun) on nodes 0 and 1 wait in" in text
        assert text.endswith("straggler: rank 1\n")
    code, text = stacks(launch, "run_0", "--rank", "1")
    assert (code, "script.py:17" in text, "script.py:16" in text) == (0, True, False), text
    code, text = stacks(launch, "run_1", "--rank", "2")
    assert (code, "--rank 2: " in text) == (2, True)
    (launch.directory / "quiet").touch()
    assert nodes.exit_codes() == [1, 1], nodes.outputs()
    for node, launched in enumerate(nodes.launched):
        block = launched.output.partition("FAILED  ")[2].splitlines()
        assert block[0].startswith("trainer rank 1 on node 1 (")
        assert block[0].endswith("): nothing has been logged and no step made for 40s")
        assert never.match(block[2].strip())
        assert "  log         run_0/logs/attempt_1/node_0/stacks.txt" in block
        assert "rank 1 waits in" in nodes.run(node).watchdog_stacks.read_text()
    until(lambda: not launch.alive())
