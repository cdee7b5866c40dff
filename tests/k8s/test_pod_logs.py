"""`launch logs` of a run in Kubernetes that has no logs in its directory here: what its pods have printed."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.k8s.test_lifecycle import PATIENT, Login, login
from tests.launching import LAUNCH
from tests.waiting import until

__all__ = ["login"]

WITHOUT_LAUNCH = "#!/bin/sh\necho '/usr/bin/python: No module named launcher'\nexit 1\n"
SLOW = "#!/bin/sh\necho first\nuntil test -e {go}; do sleep 0.1; done\necho second\n"


def image(login: Login, script: str) -> tuple[str, ...]:
    """An image whose Python is this script, so that the pods write no logs of a run."""
    python = login.directory / "python"
    python.write_text(script.format(go=login.directory / "go"))
    python.chmod(0o755)
    (login.directory / "tmp").mkdir()
    login.environment |= {"TMPDIR": str(login.directory / "tmp")}
    return "--k8s.python", str(python)


def files_left(login: Login) -> list[Path]:
    return list((login.directory / "tmp").glob("launch-logs-*"))


@contextmanager
def followed(login: Login) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    seen = login.directory / "seen"
    with seen.open("w") as out:
        logs = subprocess.Popen(
            [LAUNCH, "logs", "run", "-f"], cwd=login.directory, env=login.environment, stdout=out, stderr=out, text=True
        )
    try:
        until(lambda: "first" in seen.read_text())
        yield logs, seen
    finally:
        logs.kill()
        logs.wait()


def test_why_a_pod_could_not_start_launch_is_shown_with_the_node(login: Login) -> None:
    login.submit(PATIENT, "--nnodes", "2", *image(login, WITHOUT_LAUNCH))
    until(lambda: login.status()["state"] == "failed")
    shown = login.type("logs", "run")
    for node in (0, 1):
        assert f"trainer@{node} | /usr/bin/python: No module named launcher" in shown
    assert f"has no logs that can be read here: kubectl logs of JobSet {login.jobsets()[0]}" in shown
    assert "its pods: trainer; what a pod prints has all components" in login.type("logs", "run", "judge", code=2)
    assert "--rank: run otter has no logs of ranks here" in login.type("logs", "run", "--rank", "0", code=2)
    assert files_left(login) == []


def test_following_shows_what_the_pods_print_until_they_end(login: Login) -> None:
    login.submit(PATIENT, *image(login, SLOW))
    with followed(login) as (logs, seen):
        assert "second" not in seen.read_text()
        (login.directory / "go").touch()
        assert logs.wait(240) == 0
        assert "trainer | second" in seen.read_text()
    assert files_left(login) == []


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_logs_that_are_ended_leave_neither_files_nor_kubectl(login: Login, by: signal.Signals) -> None:
    login.submit(PATIENT, *image(login, SLOW))
    with followed(login) as (logs, _):
        os.kill(logs.pid, by)
        assert logs.wait(240) in (128 + by, 130)
    assert files_left(login) == []
    (login.directory / "go").touch()


def test_the_logs_of_another_runs_pods_are_not_shown(login: Login) -> None:
    """run.json proves nothing: anybody who may write there may name another JobSet."""
    login.submit(PATIENT, *image(login, WITHOUT_LAUNCH))
    (file,) = login.cluster.glob("*.json")
    file.write_text(file.read_text().replace('"launch/run": "', '"launch/run": "another'))
    assert "No module named launcher" not in login.type("logs", "run")


def test_a_run_with_logs_here_is_shown_from_its_directory(login: Login) -> None:
    login.submit("print('is there', flush=True)")
    login.wait_for_line("is there")
    until(lambda: login.state().state == "finished")
    assert "is there" in login.type("logs", "run", "trainer")
    assert " logs " not in (login.cluster / "calls").read_text()
