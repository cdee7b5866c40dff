"""Calls kubectl. A query never raises or hangs: an unknown answer is None."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from launcher.borders.screen import in_one_line, quoted
from launcher.borders.values import whole_number
from launcher.errors import UserError
from launcher.k8s.jobset import JOB_LABEL, JOB_VARIABLE, RESTARTS_VARIABLE, RUN_LABEL
from launcher.rundir import RunDir
from launcher.runs.liveness import TrueState
from launcher.runs.registry import key_of
from launcher.runs.state import K8sState

PATIENCE = 8.0  # seconds that `launch status` waits for a slow cluster, and for the login that kubectl may have to do
MOST_ASKED = 32  # clusters and namespaces at a time
SUBMISSION = 120.0  # seconds, the limit for kubectl create
KIND = "jobsets.jobset.x-k8s.io"
INSTALL = "https://jobset.sigs.k8s.io/docs/installation/"
_NOISE = re.compile(r"[EWI]\d{4} ")  # kubectl's own log lines
_ENDED = {"Completed": "died", "Failed": "failed"}  # of the first, run.json knows the end, or the run was killed


@dataclass(frozen=True)
class JobSet:
    """Kubernetes' view of a JobSet and its pods: the state in a word, and why it waits or how it ended."""

    state: str
    reason: str | None = None

    @property
    def is_waiting(self) -> bool:
        return self.state in ("Suspended", "Pending")

    @property
    def is_living(self) -> bool:
        return self.state not in _ENDED

    @property
    def was_interrupted(self) -> bool:
        return False

    @property
    def ending(self) -> TrueState:
        return "failed" if self.state == "Failed" else "died"


def own_job() -> str | None:
    """The JobSet whose pod started this process. A shell that `kubectl exec` opens there has none."""
    return os.environ.get(JOB_VARIABLE) or None


def restarts() -> int:
    """How often JobSet has started all pods of our own job anew."""
    return whole_number(os.environ.get(RESTARTS_VARIABLE, "")) or 0


def key(run: RunDir) -> str:
    """The label of the run's JobSets. It proves that a JobSet is the run's."""
    return key_of(run.root.resolve())


def check_installed() -> None:
    """Raises UserError if there is no kubectl."""
    if not shutil.which("kubectl"):
        raise UserError(
            "--k8s: there is no kubectl on this machine",
            "install it: https://kubernetes.io/docs/tasks/tools/; --k8s --dry-run prints the JobSet here, too",
        )


def create(file: Path, context: str | None, retries: bool) -> K8sState:
    """Submit the file. Raises UserError with kubectl's own message."""
    context = context or (_output(["config", "current-context"]) or "").strip() or None
    argv = [*_at(context), "create", "-f", str(file), "-o", "json"]
    done = _call(argv, SUBMISSION)
    if done is None:
        raise UserError("kubectl create has not ended", "nothing is known of the JobSet; look at: kubectl get jobsets")
    if done.returncode != 0:
        words = _words(done.stderr) or f"exit code {done.returncode}"
        raise UserError(f"kubectl has refused the JobSet: {words}", _why_refused(words))
    try:
        metadata = json.loads(done.stdout)["metadata"]
        return K8sState(job=metadata["name"], namespace=metadata["namespace"], context=context, retries=retries)
    except (ValueError, KeyError, TypeError):
        raise UserError("kubectl create has named no JobSet, so launch cannot find it", "kubectl get jobsets") from None


def _why_refused(words: str) -> str:
    if "no matches for kind" in words:
        return f"the cluster has no JobSet: {INSTALL}"
    if "AlreadyExists" in words:
        return "nothing was submitted; look at the one that is there: kubectl get jobsets"
    return "nothing was submitted"


def ask(jobs: Sequence[K8sState]) -> Mapping[str, JobSet | None]:
    """Kubernetes' view of the JobSets, without those that are gone. None for one that cannot be asked for.

    All clusters and namespaces are asked at once: one that does not answer delays no other.
    """
    from concurrent.futures import ThreadPoolExecutor

    def where(job: K8sState) -> tuple[str, str]:
        return job.context or "", job.namespace

    groups = [list(group) for _, group in groupby(sorted(jobs, key=where), key=where)]
    with ThreadPoolExecutor(max(1, min(len(groups), MOST_ASKED))) as pool:
        return {name: job for found in pool.map(_ask, groups) for name, job in found.items()}


def _ask(jobs: Sequence[K8sState]) -> Mapping[str, JobSet | None]:
    """For jobs of one namespace."""
    names = sorted({job.job for job in jobs})
    wanted = f"{JOB_LABEL} in ({','.join(names)})"
    argv = [*place(jobs[0]), "get", f"{KIND},pods", "-l", wanted, "-o", "json", f"--request-timeout={PATIENCE:g}s"]
    objects = _items(_output(argv))
    if objects is None:
        return dict.fromkeys(names, None)
    sets = {text_at(each, "metadata", "name"): each for each in objects if each.get("kind") == "JobSet"}
    pods = [each for each in objects if each.get("kind") == "Pod"]
    return {
        name: _view(sets[name], [pod for pod in pods if text_at(pod, "metadata", "labels", JOB_LABEL) == name])
        for name in names
        if name in sets
    }


def pods(job: K8sState, key: str) -> list[dict[str, Any]] | None:
    """The pods of the run's JobSet: `key` proves that they are the run's. None if they cannot be asked for."""
    wanted = f"{JOB_LABEL}={job.job},{RUN_LABEL}={key}"
    argv = [*place(job), "get", "pods", "-l", wanted, "-o", "json", f"--request-timeout={PATIENCE:g}s"]
    return _items(_output(argv))


def _view(jobset: dict[str, Any], pods: list[dict[str, Any]]) -> JobSet:
    conditions = list(_list(jobset, "status", "conditions"))
    for word in _ENDED:
        for condition in conditions:
            if condition.get("type") == word and condition.get("status") == "True":
                return JobSet(word, _phrase(condition.get("message")))
    if _get(jobset, "metadata", "deletionTimestamp"):
        return JobSet("Terminating")
    if _get(jobset, "spec", "suspend") is True:
        return JobSet("Suspended", "suspended: waits for its queue" if _queue(jobset) else "suspended")
    if not pods:
        return JobSet("Pending", f"no pods yet, see why with: {_typed_describe(jobset)}")
    waiting = [pod for pod in pods if _get(pod, "status", "phase") == "Pending"]
    reason = next((f"{text_at(pod, 'metadata', 'name')}: {why}" for pod in waiting if (why := _why_pending(pod))), None)
    return JobSet("Pending" if len(waiting) == len(pods) else "Running", reason)


def _typed_describe(jobset: dict[str, Any]) -> str:
    name, namespace = (text_at(jobset, "metadata", field) for field in ("name", "namespace"))
    place = [f"--namespace={namespace}"] if namespace else []
    return " ".join(["kubectl", *place, "describe", "jobs", "-l", f"{JOB_LABEL}={name}"])


def _queue(jobset: dict[str, Any]) -> str:
    return text_at(jobset, "metadata", "labels", "kueue.x-k8s.io/queue-name")


def _why_pending(pod: dict[str, Any]) -> str | None:
    for container in (*_list(pod, "status", "initContainerStatuses"), *_list(pod, "status", "containerStatuses")):
        if reason := text_at(container, "state", "waiting", "reason"):
            return _phrase(reason, _get(container, "state", "waiting", "message"))
    for condition in _list(pod, "status", "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _phrase(condition.get("reason"), condition.get("message"))
    return None


def _phrase(*words: Any) -> str | None:
    return in_one_line(": ".join(word for word in words if isinstance(word, str) and word))[:300] or None


def delete(job: K8sState, run: RunDir, seconds: float, now: bool) -> bool:
    """Delete the run's JobSet and wait until its pods are gone, at most `seconds`. Returns whether they are gone.

    Raises UserError if the JobSet is not the run's, or Kubernetes refuses or does not answer.
    """
    there = _output([*place(job), "get", KIND, job.job, "--ignore-not-found", "-o", "json"])
    if there is None:
        raise UserError("Kubernetes cannot be asked for its JobSets from here", f"with kubectl: {typed_delete(job)}")
    if not there.strip():
        return True
    _check_own(there, job, run)
    pods = ["pods", "-l", f"{JOB_LABEL}={job.job}", "--grace-period=1", "--wait=false"]
    steps = [["--cascade=foreground", "--wait=false", KIND, job.job], pods] if now else []  # foreground: no new pods
    for words in steps:
        _call([*place(job), "delete", "--ignore-not-found", *words], SUBMISSION)
    wait = ["--cascade=foreground", "--wait=true", f"--timeout={seconds:.0f}s", "--ignore-not-found"]
    done = _call([*place(job), "delete", KIND, job.job, *wait], seconds + PATIENCE)
    if done is not None and done.returncode and "timed out" not in done.stderr:
        raise UserError(f"kubectl delete has failed: {_words(done.stderr)}", f"try: {typed_delete(job)}")
    return done is not None and done.returncode == 0


def _check_own(text: str, job: K8sState, run: RunDir) -> None:
    """Raises UserError unless the JobSet has the run's label. run.json proves nothing: anybody can write it."""
    label = text_at(_object(text), "metadata", "labels", RUN_LABEL)
    if label != key(run):
        raise UserError(
            f"JobSet {job.job} is not this run's: its label {RUN_LABEL} is {in_one_line(label) or 'missing'}",
            f"the run's is {key(run)}\n  to delete it anyway, type: {typed_delete(job)}",
        )


def typed(job: K8sState, *words: str) -> str:
    """A kubectl command about the job, for a person to type."""
    return " ".join(map(quoted, ["kubectl", *place(job), *words]))


def typed_delete(job: K8sState) -> str:
    return typed(job, "delete", "jobset", job.job)


def _at(context: str | None) -> list[str]:
    return [f"--context={context}"] if context else []


def place(job: K8sState) -> list[str]:
    """kubectl's options for the job."""
    return [*_at(job.context), *([f"--namespace={job.namespace}"] if job.namespace else [])]


def _output(argv: Sequence[str]) -> str | None:
    done = _call(argv, PATIENCE)
    return done.stdout if done is not None and done.returncode == 0 else None


def _call(argv: Sequence[str], patience: float) -> "subprocess.CompletedProcess[str] | None":
    """None if there is no kubectl, or it is too slow."""
    try:
        return subprocess.run(
            ["kubectl", *argv],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _words(stderr: str) -> str:
    """kubectl's message, without its log lines."""
    lines = [line for line in stderr.splitlines() if line.strip() and not _NOISE.match(line)]
    return in_one_line(" ".join(lines).removeprefix("error: "))[:2000]


def _items(text: str | None) -> list[dict[str, Any]] | None:
    return None if text is None else [each for each in _list(_object(text), "items") if isinstance(each, dict)]


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {}


def _get(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def text_at(value: Any, *path: str) -> str:
    found = _get(value, *path)
    return found if isinstance(found, str) else ""


def _list(value: Any, *path: str) -> Iterator[dict[str, Any]]:
    found = _get(value, *path)
    return iter([each for each in found if isinstance(each, dict)] if isinstance(found, list) else [])
