"""W&B fails in every way that it has, and training goes on."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.rundir import RunDir
from launcher.tracking.wandb_links import read_wandb_links
from tests.children import clean_environment
from tests.waiting import until
from tests.wandb_child import HURRIED, TO_THE_END, WORK, child, metrics, offline_run, run
from tests.wandb_files import history
from tests.wandb_server import KEY, serving


def test_a_server_that_refuses_makes_the_run_an_offline_one(tmp_path: Path) -> None:
    with socket.socket() as nobody:  # has the port, and does not listen
        nobody.bind(("127.0.0.1", 0))
        assert_goes_offline(tmp_path, f"http://127.0.0.1:{nobody.getsockname()[1]}")


@pytest.mark.slow  # a server that refuses is the quick one of the three
@pytest.mark.parametrize("behaviour", ["hangs", "fails"])
def test_a_server_that_hangs_or_answers_500_makes_the_run_an_offline_one(tmp_path: Path, behaviour: Any) -> None:
    with serving(behaviour) as server:
        assert_goes_offline(tmp_path, server.url)
        assert server.requests


def assert_goes_offline(root: Path, url: str) -> None:
    """One warning that says how to upload, all the data on disk, and no long wait at the start or at the end."""
    started = time.monotonic()
    result = run(root, TO_THE_END, {"WANDB_API_KEY": KEY}, base_url=url, **HURRIED)
    assert time.monotonic() - started < 60  # wandb alone would take 90 to start
    (warning,) = [line for line in result.stdout.splitlines() if "WARNING" in line]
    assert re.search(r"W&B did not start \(.+\): logging offline; upload it afterwards with: wandb sync /", warning)
    assert warning.endswith(str(offline_run(root)))
    assert len(history(offline_run(root))) == len(metrics(root)) == 5


SLOW = [pytest.param(behaviour, marks=pytest.mark.slow) for behaviour in ("hangs", "is gone")]


@pytest.mark.parametrize("behaviour", ["fails", *SLOW])
def test_a_server_that_fails_later_does_not_stop_the_training(tmp_path: Path, behaviour: Any) -> None:
    """The trainer never waits for it, the end is bounded, and what was not uploaded can be."""
    marker = tmp_path / "go on"
    code = WORK + (
        "import pathlib, time\nwork(range(1, 3))\nprint('under way', flush=True)\n"
        f"while not pathlib.Path({str(marker)!r}).exists(): time.sleep(0.01)\n"
        "started = time.monotonic(); work(range(3, 31)); print('WORKED', time.monotonic() - started)\n"
        "started = time.monotonic(); monitor.finish(0); print('FINISHED', time.monotonic() - started)"
    )
    with serving() as server:
        config = json.dumps({"base_url": server.url, "finish_timeout": 2})
        env = clean_environment(tmp_path, **child(tmp_path, WANDB_API_KEY=KEY))
        command = [sys.executable, "-c", code, config]
        with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            next(line for line in process.stdout if "under way" in line)
            server.behaviour = behaviour
            if behaviour == "is gone":
                server.shutdown()
                server.server_close()
            marker.touch()
            out = process.stdout.read()
            assert process.wait(240) == 0
    assert float(re.search(r"WORKED (\S+)", out)[1]) < 10  # type: ignore[index]
    assert float(re.search(r"FINISHED (\S+)", out)[1]) < 40  # type: ignore[index]
    (warning,) = [line for line in out.splitlines() if "WARNING" in line]
    assert re.search(
        r"W&B has failed \(.+\); it may miss some of this run, upload it with: wandb sync --include-online /", warning
    )
    assert len(metrics(tmp_path)) == 30
    (link,) = read_wandb_links(RunDir(tmp_path))
    assert link.sync_command == f"wandb sync --include-online {link.directory}"


def test_a_directory_that_cannot_be_made_leaves_the_metrics_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "wandb").write_text("a file")
    result = run(tmp_path, TO_THE_END, mode="offline", dir=str(tmp_path / "taken"), **HURRIED)
    assert "W&B did not start" in result.stdout
    assert len(metrics(tmp_path)) == 5


@pytest.mark.slow
def test_a_disk_that_becomes_full_does_not_stop_the_training(tmp_path: Path) -> None:
    """A file size limit, which wandb's service inherits, stands for the full disk."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    code = limit + WORK + "work(range(1, 101), samples=500)\nmonitor.finish(0)"
    run(tmp_path, code, mode="offline", finish_timeout=2)
    assert len(metrics(tmp_path)) == 100


@pytest.mark.parametrize("deadly", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_a_service_of_wandbs_that_dies_or_hangs_does_not_stop_the_training(
    tmp_path: Path, deadly: signal.Signals
) -> None:
    code = WORK + (
        "import psutil, time\nwork(range(1, 6))\n"
        "while len(service := psutil.Process().children(recursive=True)) < 2:  # its own child comes later\n"
        "    time.sleep(0.01)\n"
        "for each in reversed(service):  # a child that is signalled second may be gone\n"
        f"    print('SERVICE', each.pid); each.send_signal({deadly.value})\n"
        "work(range(6, 11))\nmonitor.finish(0)"
    )
    result = run(tmp_path, code, mode="offline", finish_timeout=2)
    assert result.stdout.count("W&B has failed") == 1
    assert len(metrics(tmp_path)) == 10
    service = [int(pid) for pid in re.findall(r"SERVICE (\d+)", result.stdout)]
    assert len(service) == 2
    until(lambda: not any(is_running(pid) for pid in service))


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
