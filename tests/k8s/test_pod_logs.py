"""`launch logs` of a run in Kubernetes that has no logs in its directory here: what its pods have printed."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.k8s.login import PATIENT, Login
from tests.launching import LAUNCH
from tests.tmux_server import TmuxServer
from tests.waiting import until

WITHOUT_LAUNCH = "#!/bin/sh\necho '/usr/bin/python: No module named launcher'\nexit 1\n"
IN_STREAMS = """#!/bin/sh
for stream in 0 2; do
    until test $(grep -c "logs .* -f" {calls}) -ge $stream; do sleep 0.1; done
    for line in $(seq 80); do echo number $((40 * stream + line)); sleep 0.05; done
done
printf 'number 161'
"""
SLOW = "#!/bin/sh\necho first\nuntil test -e {go}; do sleep 0.1; done\necho second\n"


def image(login: Login, script: str) -> tuple[str, ...]:
    """An image whose Python is this script, so that the pods write no logs of a run."""
    python = login.directory / "python"
    python.write_text(script.format(go=login.directory / "go", calls=login.cluster / "calls"))
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


@pytest.mark.parametrize("code", [0, 1])
def test_a_stream_that_ends_while_the_pod_prints_is_continued_without_a_line_lost_or_twice(
    login: Login, code: int
) -> None:
    """As when an API server, or a proxy before it, closes streams after some hours."""
    (login.cluster / "cut").write_text(f"3000 {code}")
    login.submit(PATIENT, *image(login, IN_STREAMS))
    until(lambda: "number" in login.logs())
    shown = login.type("logs", "run", "-f")
    numbers = [line for line in shown.splitlines() if "number" in line]
    assert numbers == [f"trainer | number {number}" for number in range(1, 162)]
    assert "EOF" not in shown
    assert files_left(login) == []


def test_why_the_logs_of_a_pod_are_not_given_is_said_once(login: Login) -> None:
    (login.cluster / "refuse-logs").write_text('Error from server (Forbidden): pods "x" is forbidden')
    login.submit(PATIENT, *image(login, SLOW))
    until(lambda: "first" in login.logs())
    assert login.type("logs", "run").count("kubectl logs otter-") == 1
    assert login.type("logs", "run").count('Error from server (Forbidden): pods "x" is forbidden') == 1
    (login.directory / "go").touch()


def test_attach_goes_into_the_first_pod_if_the_logs_cannot_be_read_here(outer: TmuxServer, login: Login) -> None:
    python = '#!/bin/sh\ncase "$*" in *resume*) echo first; sleep 60 ;; *) echo "in the pod: $*" ;; esac\n'
    login.submit(PATIENT, *image(login, python))
    until(lambda: "first" in login.logs())
    outer.wait_for_text(login.attach(outer), f"in the pod: -P -m launcher attach {login.run.root}")
    assert "there is no terminal to attach to" in login.type("attach", "run", code=2)


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
