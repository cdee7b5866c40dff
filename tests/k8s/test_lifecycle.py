"""A run in Kubernetes from `kubectl create` to its end, with a kubectl of the tests' own."""

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.k8s.login import PATIENT, Login
from tests.tmux_server import TmuxServer
from tests.waiting import until

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
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("is there", flush=True)
while True:
    time.sleep(60)
"""
SERVER = f"{shlex.quote(sys.executable)} -u -m http.server {{port}}"
OWN = ("--trainer.command", shlex.join([sys.executable, "script.py"]))  # without torchrun, which takes seconds to start
MORE_OF = {
    "train": OWN,
    "sft": OWN,
    "rl": ("--no-orchestrator", "--inference.command", SERVER, "--inference.nodes", "1"),
}
REFUSALS = {  # what kubectl prints, and what launch advises
    "no JobSet": (
        'error: resource mapping not found: no matches for kind "JobSet" in version "jobset.x-k8s.io/v1alpha2"',
        "the cluster has no JobSet",
    ),
    "no namespace": ('Error from server (NotFound): namespaces "lab" not found', "kubectl get namespaces"),
    "no context": ('error: context "lab" does not exist', "kubectl config get-contexts"),
    "forbidden": ("Error from server (Forbidden): jobsets.jobset.x-k8s.io is forbidden", "kubectl auth can-i --list"),
}


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
    until(lambda: login.status()["state"] == "running")  # a program may speak before the supervisor has written
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
    until(lambda: login.status()["state"] == "running")  # a program may speak before the supervisor has written
    assert list(login.run.root.glob(".join-*")) == []
    assert "its processes have ended" in login.type("stop", "run")
    until(lambda: not login.alive())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["train", "sft", "rl"])
def test_every_kind_of_run_is_shown_attached_to_stopped_resumed_and_killed(
    kind: str, outer: TmuxServer, login: Login
) -> None:
    login.submit(STUBBORN, *MORE_OF[kind], "--grace", "3s", kind=kind)
    first = 0 if kind == "rl" else None  # its inference has a pod of its own, node 1
    login.wait_for_line("is there", node=first)
    if kind == "rl":
        login.wait_for_line("Serving HTTP", node=1, component="inference")
        assert "inference@1 | Serving HTTP" in login.type("logs", "run", "inference")
    until(lambda: login.status()["state"] == "running")  # a program may speak before the supervisor has written
    assert "is there" in login.type("logs", "run", "trainer")
    outer.wait_for_text(login.attach(outer), "is there")
    assert "its processes have ended" in login.type("stop", "run")
    assert login.state().state == "stopped"
    assert login.jobsets() == []
    login.type("resume", "run", "--grace", "1h")
    login.wait_for_line("is there", node=first, attempt=2)
    assert len(login.jobsets()) == 1
    assert "its processes have ended" in login.type("stop", "run", "--now")
    assert login.jobsets() == []


@pytest.mark.parametrize("verb", ["get", "delete"])
def test_what_the_cluster_forbids_is_said_with_its_own_words(login: Login, verb: str) -> None:
    (login.cluster / "hold").touch()
    login.submit(PATIENT)
    (login.cluster / f"refuse-{verb}").write_text('Error from server (Forbidden): jobsets "x" is forbidden')
    assert 'Error from server (Forbidden): jobsets "x" is forbidden' in login.type("stop", "run", code=2)
    if verb == "get":
        assert 'from here: Error from server (Forbidden): jobsets "x" is forbidden' in login.status()["reason"]
        assert "cannot be asked for: Error from server (Forbidden)" in login.type("logs", "run")
    (login.cluster / f"refuse-{verb}").unlink()


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


@pytest.mark.parametrize(("said", "advice"), REFUSALS.values(), ids=list(REFUSALS))
def test_what_kubectl_refuses_leaves_no_run(login: Login, said: str, advice: str) -> None:
    (login.cluster / "refuse-create").write_text(said)
    refused = login.submit(PATIENT, code=2)
    assert f"kubectl has refused the JobSet: {said.removeprefix('error: ')}" in refused
    assert advice in refused
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
    assert status["state"] == "queued"
    assert status["reason"] == "Kubernetes cannot be asked about it from here: there is no kubectl on this machine"
    assert "kubectl --context=lab --namespace=default delete jobset" in login.type("stop", "run", code=2)


def test_a_secret_that_no_file_may_hold_is_refused(login: Login) -> None:
    refused = login.submit(PATIENT, "--trainer.env", "HF_TOKEN=abc", code=2)
    assert "--k8s.secrets SECRET" in refused
    assert not login.run.root.exists()
