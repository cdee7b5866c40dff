"""`launch restart` on real runs: the server is another process afterwards, everything else is the same."""

import json
import os
import signal
import subprocess

import pytest

from tests.e2e.faulty import Faulty, start_rl
from tests.e2e.test_servers import PORTS, SERVE, URL
from tests.launching import Launcher
from tests.waiting import until


@pytest.fixture
def serving(launch: Launcher) -> Faulty:
    """A run of scripts, with a server that is ready."""
    options = (*PORTS, f"--inference.ready={URL}/health", "--grace=2s")
    faulty = start_rl(launch, *options, inference=SERVE + "server.serve_forever()")
    faulty.wait_until_there()
    faulty.run.wait_for_output("inference: ready after")
    return faulty


def test_a_server_is_restarted_alone_and_the_run_finishes(launch: Launcher, serving: Faulty) -> None:
    names = ("trainer", "orchestrator", "inference")
    before = {name: serving.run.pid_of(name) for name in names}
    refused = launch.command("restart", "run", "trainer")
    assert refused.returncode == 2
    assert "trainer was not restarted: the run lasts as long as it does" in refused.stderr
    unknown = launch.command("restart", "run", "rewrad")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "has no component 'rewrad'" in unknown.stderr
    done = launch.command("restart", str(launch.directory / "run"), "inference")
    assert (done.returncode, done.stderr) == (0, "")
    after = {name: serving.run.pid_of(name) for name in names}
    assert {name for name in names if before[name] != after[name]} == {"inference"}
    assert "ready after" in done.stdout and f"pid {after['inference']}" in done.stdout
    inference = serving.run.state().process("inference")
    assert inference.restarts == 1 and "launch restart" in (inference.restarted or "")
    log = serving.run.run.launcher_log.read_text()
    assert "inference: restart asked for by pid" in log and "refused: the run lasts as long" in log
    serving.touch("finish")
    assert serving.run.exit_code() == 0, serving.run.output
    ended = launch.command("restart", "run", "inference")
    assert ended.returncode == 2 and "is finished: only a component of a running run" in ended.stderr
    assert not (serving.run.run.control).exists()


def test_a_stopped_supervisor_cannot_be_asked_and_a_planted_one_is_not(launch: Launcher, serving: Faulty) -> None:
    run = serving.run.run
    run.control.unlink()
    first = launch.command("restart", "run", "inference")
    assert first.returncode == 2 and "its supervisor cannot be asked" in first.stderr
    listen = (
        "import os, socket; s = socket.socket(socket.AF_UNIX); s.bind('.c'); s.listen(); os.rename('.c', '.control'); "
        "print(s.accept()[0].recv(9))"
    )
    with subprocess.Popen(["python3", "-c", listen], cwd=run.root, stdout=subprocess.PIPE, text=True) as planted:
        until(run.control.is_socket)
        second = launch.command("restart", "run", "inference")
        assert second.returncode == 2 and "not proven to be its supervisor" in second.stderr
        assert planted.communicate(timeout=240)[0] == "b''\n"
    os.kill(serving.run.process.pid, signal.SIGTERM)
    assert serving.run.exit_code() == 143


@pytest.mark.slow
def test_the_reference_orchestrator_gives_the_new_server_the_newest_weights(launch: Launcher) -> None:
    run = launch("rl", "--output-dir", "run", "--no-tmux", "--max-steps=60")
    run.wait_for_output("step 5/60")
    done = launch.command("restart", "run", "inference")
    assert done.returncode == 0, done.stderr
    assert run.exit_code() == 0, run.output
    assert "step 60/60" in run.output
    metrics = [json.loads(line) for line in run.run.metrics("trainer").read_text().splitlines()]
    assert [each["step"] for each in metrics] == list(range(1, 61))
