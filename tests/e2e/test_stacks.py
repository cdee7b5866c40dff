"""`launch stacks` on a run that hangs."""

import subprocess

from tests.launching import LAUNCH, Launched, Launcher
from tests.waiting import until

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
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def stop(run: Launched) -> None:
    run.process.terminate()
    run.exit_code()


def test_a_rank_that_the_others_wait_for_is_named(launch: Launcher) -> None:
    run = launch.sft(HUNG, "--nproc", "2")
    run.wait_for_ranks(2)
    until(lambda: "waits in all_reduce" in (text := stacks(launch)[1]) and "load_batch" in text, 60)
    code, text = stacks(launch, "run")
    assert code == 0
    assert "rank 0 waits in all_reduce, called by <module> (script.py:12)" in text
    assert "rank 1 waits in load_batch (script.py:7)" in text
    assert "trainer (torchrun) waits in" in text
    assert text.endswith("rank 1 stands apart\n")
    code, text = stacks(launch, "run", "--rank", "1")
    assert code == 0
    assert "all_reduce" not in text
    stop(run)
    code, text = stacks(launch, "run")
    assert code == 2
    assert text.startswith(f"launch: {run.state().name} is not running\n")
