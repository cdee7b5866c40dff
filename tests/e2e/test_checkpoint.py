"""`launch checkpoint` on a real run of two ranks."""

import os
import signal

import pytest

from tests.launching import Launcher


@pytest.mark.slow
def test_both_ranks_write_one_after_the_step_and_the_run_continues(launch: Launcher) -> None:
    options = ("--nproc=2", "--max-steps=100000", "--trainer.checkpoint.interval=0", "--no-tmux")
    run = launch("sft", "--output-dir", "run", *options)
    run.wait_for_output("step 3/100000")
    done = launch.command("checkpoint", "run")
    assert (done.returncode, done.stderr) == (0, "")
    written = done.stdout.splitlines()[-1].removeprefix("checkpoint ")
    assert os.path.exists(os.path.join(written, "model.safetensors"))  # noqa: PTH110, PTH118
    assert run.state().state == "running" and not run.run.checkpoint_request.exists()
    os.kill(run.process.pid, signal.SIGTERM)
    assert run.exit_code() == 143
    ended = launch.command("checkpoint", "run")
    assert ended.returncode == 2 and "is stopped: only a running run can write a checkpoint" in ended.stderr
