"""Two inference servers of one run: one is killed, or restarted by hand, while the other serves."""

import os
import signal

import pytest

from tests.launching import Launcher
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # real training with two servers

MANY = "--max-steps=100000"


def test_a_server_that_is_killed_comes_back_with_the_newest_weights_while_the_other_serves(launch: Launcher) -> None:
    two = ("--inference.replicas", "2", "--inference.restart", "on-failure")
    run = launch("rl", "--output-dir", "run", "--no-tmux", "--grace=5s", MANY, *two)
    run.wait_for_output("step 3/")
    names = ("trainer", "orchestrator", "inference-0", "inference-1")
    before = {name: run.pid_of(name) for name in names}
    os.kill(before["inference-1"], signal.SIGKILL)
    log = run.run.component_log("orchestrator")
    until(lambda: "is back, with the weights of step" in log.read_text())
    assert "waiting for it up to 600 s, the others serve" in log.read_text()
    after = {name: run.pid_of(name) for name in names}
    assert {name for name in names if before[name] != after[name]} == {"inference-1"}
    assert [run.state().process(name).restarts for name in names] == [0, 0, 0, 1]
    trained = run.run.metrics("trainer").read_text().count("\n")
    until(lambda: run.run.metrics("trainer").read_text().count("\n") > trained + 2)
    for name in ("inference-0", "inference-1"):
        assert "serving policy at http://127.0.0.1:" in run.run.component_log(name).read_text()

    done = launch.command("restart", "run", "inference-0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "inference-0: ready after" in done.stdout
    logged = launch.command("logs", "run", "inference-0")
    assert logged.returncode == 0 and logged.stdout.count("serving policy at") == 2
    unknown = launch.command("restart", "run", "inference")
    assert unknown.returncode == 2 and "it has: trainer, orchestrator, inference-0, inference-1" in unknown.stderr
    shown = launch.command("status", "run")
    assert "inference-0" in shown.stdout and "inference-1" in shown.stdout
    stopped = launch.command("stop", "run")
    assert stopped.returncode == 0, stopped.stderr
    run.exit_code()
    until(lambda: not launch.alive())
