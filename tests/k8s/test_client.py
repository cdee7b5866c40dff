"""Kubernetes' view of JobSets, as kubectl tells it."""

import json
from pathlib import Path

import pytest

from launcher.k8s import client
from launcher.k8s.client import JobSet
from launcher.runs.state import K8sState

TOGETHER = """#!/bin/sh
touch asked-$$
for _ in $(seq 50); do
    if [ $(ls | grep -c asked-) = 3 ]; then echo '{"items": []}'; exit; fi
    sleep 0.1
done
exit 1
"""


def kubectl(here: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "bin").mkdir()
    (here / "bin" / "kubectl").write_text(script)
    (here / "bin" / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here / 'bin'}:/usr/bin:/bin")
    monkeypatch.chdir(here)


def test_clusters_and_namespaces_are_asked_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl(tmp_path, TOGETHER, monkeypatch)
    places = (("one", "a"), ("one", "b"), ("two", "a"))
    jobs = [K8sState(job=f"otter-{number}", context=at, namespace=its) for number, (at, its) in enumerate(places)]
    assert client.ask(jobs) == {}  # None for one that has waited for the others in vain


def test_a_jobset_without_pods_says_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a quota or an admission webhook refuses the pods: only the Jobs' events tell."""
    there = {"kind": "JobSet", "metadata": {"name": "otter-1", "namespace": "lab"}}
    kubectl(tmp_path, f"#!/bin/sh\necho '{json.dumps({'items': [there]})}'\n", monkeypatch)
    look = "kubectl --namespace=lab describe jobs -l launch/job=otter-1"
    known = JobSet("Pending", f"no pods yet, see why with: {look}")
    assert client.ask([K8sState(job="otter-1")]) == {"otter-1": known}


@pytest.mark.parametrize("printed", ["", "Please log in at https://sso.lab", '{"kind": "Status"}', '{"items": {}}'])
def test_a_jobset_is_not_gone_because_kubectl_has_printed_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str
) -> None:
    kubectl(tmp_path, f"#!/bin/sh\necho '{printed}'\n", monkeypatch)
    said = printed or "nothing"
    assert client.ask([K8sState(job="otter-1")]) == {"otter-1": f"kubectl has printed no list: {said}"}
