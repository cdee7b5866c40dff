"""A run in Kubernetes from `kubectl create` to its end, with a kubectl of the tests' own."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.rundir import RunDir
from launcher.runs.state import RunState, read_state
from tests.launching import LAUNCH, Launcher
from tests.waiting import until

STAND_IN = Path(__file__).with_name("kubectl.py")
TARDY = """
import signal, sys, time
def end(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("is ending", flush=True)
    time.sleep(3)
    print("has saved", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("is there", flush=True)
while True:
    signal.pause()
"""
PATIENT = "import signal\nprint('is there', flush=True)\nsignal.pause()"


class Login(Launcher):
    """`launch` on a machine with kubectl and the volume."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.cluster, programs = directory / "cluster", directory / "bin"
        for made in (self.cluster, programs):
            made.mkdir()
        script = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))} "$@"\n'
        (programs / "kubectl").write_text(script)
        (programs / "kubectl").chmod(0o755)
        self.environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "KUBECTL_STATE": str(self.cluster)}
        self.run = RunDir(directory / "run")

    def type(self, *words: str, code: int = 0) -> str:
        argv = [LAUNCH, *words]
        done = subprocess.run(
            argv, cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == code, (words, done.stdout, done.stderr, self.logs())
        return done.stdout + done.stderr

    def submit(self, script: str, *more: str, code: int = 0) -> str:
        (self.directory / "script.py").write_text(script)
        program = ("sft", "--trainer.script", "script.py", "--output-dir", "run", "--name", "otter")
        request = ("--k8s.image", "launch:1", "--k8s.volumes", f"data=claim:{self.directory}")
        return self.type(*program, *request, "--k8s.python", sys.executable, *more, code=code)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.type("status", "run", "--json"))
        return found

    def state(self) -> RunState:
        state = read_state(self.run)
        assert state is not None
        return state

    def jobsets(self) -> list[str]:
        return sorted(file.stem for file in self.cluster.glob("*.json"))

    def pods(self) -> list[dict[str, Any]]:
        kept = [json.loads(file.read_text()) for file in self.cluster.glob("*.json")]
        return [pod for each in kept for pod in each["pods"]]

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in self.cluster.glob("*.log"))

    def wait_for_line(self, text: str, node: int | None = None) -> None:
        log = self.run.on(node).component_log("trainer")
        try:
            until(lambda: log.exists() and text in log.read_text())
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.logs()}") from None


@pytest.fixture
def login(tmp_path: Path) -> Iterator[Login]:
    login = Login(tmp_path)
    yield login
    for name in login.jobsets():
        subprocess.run(
            [str(tmp_path / "bin" / "kubectl"), "delete", "jobset", name], env=login.environment, check=False
        )
    until(lambda: not login.alive())


def test_a_run_waits_with_the_pods_reason_and_is_deleted_by_stop(login: Login) -> None:
    (login.cluster / "hold").touch()
    said = login.submit(PATIENT)
    (name,) = login.jobsets()
    assert f"submitted as JobSet {name}, 1 pod in namespace default" in said
    assert (login.run.jobset.stat().st_mode & 0o777) == 0o600
    assert f"runAsUser: {os.geteuid()}\n" in login.run.jobset.read_text()
    status = login.status()
    assert (status["state"], status["job"]) == ("queued", name)
    assert "Unschedulable: 0/3 nodes are available" in status["reason"]
    assert "is queued" in login.type("resume", "run", code=2)
    assert "otter: cancelled" in login.type("stop", "run")
    assert login.jobsets() == []
    assert "submitted as JobSet" in login.type("resume", "run")
    assert login.jobsets() == [name.removesuffix("1") + "2"]


def test_a_run_finishes_in_its_pod(login: Login) -> None:
    login.submit("print('is there', flush=True)")
    until(lambda: login.state().state in ("finished", "failed"))
    assert login.status()["state"] == "finished", login.logs()
    assert "is there" in login.type("logs", "run", "trainer")
    state = login.state()
    assert state.k8s is not None
    assert (state.k8s.job, state.k8s.namespace, state.k8s.context) == (login.jobsets()[0], "default", "lab")


def test_stop_ends_what_runs_in_the_pod(login: Login) -> None:
    login.submit(PATIENT)
    login.wait_for_line("is there")
    assert login.status()["state"] == "running"
    assert "its processes have ended" in login.type("stop", "run")
    assert (login.state().state, login.state().exit_code) == ("stopped", 143)
    assert login.jobsets() == []
    until(lambda: not login.alive())  # the container itself ends after its command


def test_a_sigterm_that_comes_twice_does_not_take_the_grace_from_a_pod(login: Login) -> None:
    """As on several nodes: the other node has told this one of its own SIGTERM."""
    login.submit(TARDY)
    login.wait_for_line("is there")
    (pod,) = login.pods()
    os.kill(pod["pid"], signal.SIGTERM)
    login.wait_for_line("is ending")
    os.kill(pod["pid"], signal.SIGTERM)
    login.wait_for_line("has saved")
    until(lambda: login.state().exit_code == 143)


@pytest.mark.slow
def test_the_pods_of_a_run_on_two_nodes_meet_and_end_together(login: Login) -> None:
    login.submit(PATIENT, "--nnodes", "2")
    login.wait_for_line("is there", node=0)
    login.wait_for_line("is there", node=1)
    assert login.status()["state"] == "running"
    assert list(login.run.root.glob(".join-*")) == []
    assert "its processes have ended" in login.type("stop", "run")
    until(lambda: not login.alive())


def test_a_run_that_replaces_another_is_a_jobset_of_its_own(login: Login) -> None:
    login.submit("print('is there', flush=True)")
    until(lambda: login.state().state == "finished")
    (login.cluster / "hold").touch()
    login.submit("print('is there', flush=True)", "--clean")
    assert len(login.jobsets()) == 2
    assert login.status()["state"] == "queued"


def test_a_run_that_kueue_has_preempted_is_queued_and_not_resumed_beside_it(login: Login) -> None:
    (login.cluster / "hold").touch()
    login.submit(PATIENT, "--k8s.queue", "gpus")
    (file,) = login.cluster.glob("*.json")
    kept = json.loads(file.read_text())
    kept["jobset"]["spec"]["suspend"] = True
    file.write_text(json.dumps(kept))
    ended = login.state().model_copy(update={"state": "stopped", "reason": "stopped by pid 1"})
    login.run.state.write_text(ended.model_dump_json())
    status = login.status()
    assert (status["state"], "waits for its queue" in status["reason"]) == ("queued", True)
    assert "may start it again: Suspended" in login.type("resume", "run", code=2)


def test_a_jobset_that_is_not_the_runs_is_not_deleted(login: Login) -> None:
    (login.cluster / "hold").touch()
    login.submit(PATIENT)
    (file,) = login.cluster.glob("*.json")
    kept = json.loads(file.read_text())
    kept["jobset"]["metadata"]["labels"]["launch/run"] = "another"
    file.write_text(json.dumps(kept))
    assert "is not this run's: its label launch/run is another" in login.type("stop", "run", code=2)
    assert file.exists()


def test_what_kubectl_refuses_leaves_no_run(login: Login) -> None:
    said = 'error: resource mapping not found: no matches for kind "JobSet" in version "jobset.x-k8s.io/v1alpha2"'
    (login.cluster / "refuse").write_text(said)
    refused = login.submit(PATIENT, code=2)
    assert "kubectl has refused the JobSet: resource mapping not found" in refused
    assert "the cluster has no JobSet" in refused
    assert not login.run.root.exists()


def test_without_kubectl_the_request_is_refused_and_nothing_made(login: Login) -> None:
    login.environment["PATH"] = str(Path(sys.executable).parent)
    assert "there is no kubectl on this machine" in login.submit(PATIENT, code=2)
    assert not login.run.root.exists()
    assert "kind: JobSet" in login.submit(PATIENT, "--dry-run")


def test_a_cluster_that_cannot_be_asked_is_said_so(login: Login) -> None:
    (login.cluster / "hold").touch()
    login.submit(PATIENT)
    login.environment["PATH"] = str(Path(sys.executable).parent)
    status = login.status()
    assert (status["state"], status["reason"]) == ("queued", "Kubernetes cannot be asked about it from here")
    assert "kubectl --context=lab --namespace=default delete jobset" in login.type("stop", "run", code=2)


def test_a_secret_that_no_file_may_hold_is_refused(login: Login) -> None:
    refused = login.submit(PATIENT, "--trainer.env", "HF_TOKEN=abc", code=2)
    assert "--k8s.secrets SECRET" in refused
    assert not login.run.root.exists()
