"""The JobSets of runs: submitted, asked for and deleted by kubectl."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from launcher.borders.screen import in_one_line, quoted
from launcher.borders.values import whole_number
from launcher.errors import UserError
from launcher.k8s.jobset import CONTAINER, JOB_LABEL, JOB_VARIABLE, RESTARTS_VARIABLE, RUN_LABEL
from launcher.k8s.kubectl import (
    PATIENCE,
    NoAnswer,
    at,
    call,
    dicts_at,
    is_installed,
    items,
    object_of,
    place,
    query,
    text_at,
    value_at,
    words,
)
from launcher.rundir import RunDir
from launcher.runs.liveness import TrueState
from launcher.runs.registry import key_of
from launcher.runs.state import K8sState

MOST_ASKED = 32  # clusters and namespaces at a time
SUBMISSION = 120.0  # seconds, the limit for kubectl create
KIND = "jobsets.jobset.x-k8s.io"
POD_NAME = re.compile(
    r"[a-z0-9][a-z0-9.-]{0,252}"
)  # kubectl must not take it for an option, nor a terminal for a command
GROUP_LABEL = "jobset.sigs.k8s.io/replicatedjob-name"
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
INSTALL = "https://jobset.sigs.k8s.io/docs/installation/"
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
    if not is_installed():
        raise UserError(
            "--k8s: there is no kubectl on this machine",
            "install it: https://kubernetes.io/docs/tasks/tools/; --k8s --dry-run prints the JobSet here, too",
        )


def create(file: Path, context: str | None, retries: bool) -> K8sState:
    """Submit the file. Raises UserError with kubectl's own message."""
    context = context or _current_context()
    argv = [*at(context), "create", "-f", str(file), "-o", "json"]
    done = call(argv, SUBMISSION)
    if done is None:
        raise UserError("kubectl create has not ended", "nothing is known of the JobSet; look at: kubectl get jobsets")
    if done.returncode != 0:
        why = words(done.stderr) or f"exit code {done.returncode}"
        raise UserError(f"kubectl has refused the JobSet: {why}", _after_refusal(why))
    try:
        metadata = json.loads(done.stdout)["metadata"]
        return K8sState(job=metadata["name"], namespace=metadata["namespace"], context=context, retries=retries)
    except (ValueError, KeyError, TypeError):
        raise UserError("kubectl create has named no JobSet, so launch cannot find it", "kubectl get jobsets") from None


def _current_context() -> str | None:
    try:
        return query(["config", "current-context"]).strip() or None
    except NoAnswer:
        return None


def _after_refusal(why: str) -> str:
    """What to do about it."""
    if "no matches for kind" in why:
        return f"the cluster has no JobSet: {INSTALL}"
    if "AlreadyExists" in why:
        return "nothing was submitted; look at the one that is there: kubectl get jobsets"
    if "namespaces " in why and "NotFound" in why:
        return "nothing was submitted; name another one with --k8s.namespace, kubectl get namespaces lists them"
    if why.startswith("context "):
        return "nothing was submitted; name another one with --k8s.context, kubectl config get-contexts lists them"
    if "Forbidden" in why:
        return "nothing was submitted; what you may do there is listed by: kubectl auth can-i --list"
    return "nothing was submitted"


def ask(jobs: Sequence[K8sState]) -> Mapping[str, JobSet | str]:
    """Kubernetes' view of the JobSets, without those that are gone. If it gives no answer: why.

    All clusters and namespaces are asked at once: one that does not answer delays no other.
    """
    from concurrent.futures import ThreadPoolExecutor

    def where(job: K8sState) -> tuple[str, str]:
        return job.context or "", job.namespace

    groups = [list(group) for _, group in groupby(sorted(jobs, key=where), key=where)]
    with ThreadPoolExecutor(max(1, min(len(groups), MOST_ASKED))) as pool:
        return {name: job for found in pool.map(_ask, groups) for name, job in found.items()}


def _ask(jobs: Sequence[K8sState]) -> Mapping[str, JobSet | str]:
    """For jobs of one namespace."""
    names = sorted({job.job for job in jobs})
    wanted = f"{JOB_LABEL} in ({','.join(names)})"
    argv = [*place(jobs[0]), "get", f"{KIND},pods", "-l", wanted, "-o", "json", f"--request-timeout={PATIENCE:g}s"]
    try:
        objects = items(query(argv))
    except NoAnswer as error:
        return dict.fromkeys(names, str(error))
    sets = {text_at(each, "metadata", "name"): each for each in objects if each.get("kind") == "JobSet"}
    pods = [each for each in objects if each.get("kind") == "Pod"]
    return {
        name: _view(sets[name], [pod for pod in pods if text_at(pod, "metadata", "labels", JOB_LABEL) == name])
        for name in names
        if name in sets
    }


def pods(job: K8sState, key: str) -> list[dict[str, Any]]:
    """The pods of the run's JobSet: `key` proves that they are the run's. Raises NoAnswer."""
    wanted = f"{JOB_LABEL}={job.job},{RUN_LABEL}={key}"
    argv = [*place(job), "get", "pods", "-l", wanted, "-o", "json", f"--request-timeout={PATIENCE:g}s"]
    return items(query(argv))


def in_first_pod(job: K8sState, run: RunDir, arguments: Sequence[str]) -> list[str] | None:
    """kubectl's argv for `launch ARGUMENTS` in the pod of node 0, with our terminal. None if that pod does not run."""
    try:
        there = pods(job, key(run))
    except NoAnswer:
        return None
    running = [pod for pod in there if text_at(pod, "status", "phase") == "Running" and _is_first(pod)]
    name = text_at(running[0], "metadata", "name") if running else ""
    python = _python(running[0]) if running else None
    if not POD_NAME.fullmatch(name) or python is None:
        return None
    return ["kubectl", *place(job), "exec", "-it", name, "-c", CONTAINER, "--", *python, *arguments]


def _is_first(pod: dict[str, Any]) -> bool:
    return text_at(pod, "metadata", "labels", GROUP_LABEL) == "trainer" and rank_in_group(pod) in (0, None)


def rank_in_group(pod: dict[str, Any]) -> int | None:
    """Its number among the pods of its replicated job."""
    return whole_number(text_at(pod, "metadata", "annotations", INDEX_ANNOTATION))


def _python(pod: dict[str, Any]) -> list[str] | None:
    """How the pod was told to start launch."""
    container = next((each for each in dicts_at(pod, "spec", "containers") if each.get("name") == CONTAINER), {})
    command = [word.replace("$$", "$") for word in value_at(container, "command") or () if isinstance(word, str)]
    if "-P" not in command[1:]:
        return None
    at_option = command.index("-P", 1)
    return [command[at_option - 1], "-P", "-m", "launcher"]


def _view(jobset: dict[str, Any], pods: list[dict[str, Any]]) -> JobSet:
    conditions = list(dicts_at(jobset, "status", "conditions"))
    for word in _ENDED:
        for condition in conditions:
            if condition.get("type") == word and condition.get("status") == "True":
                return JobSet(word, _phrase(condition.get("message")))
    if value_at(jobset, "metadata", "deletionTimestamp"):
        return JobSet("Terminating")
    if value_at(jobset, "spec", "suspend") is True:
        return JobSet("Suspended", "suspended: waits for its queue" if _queue(jobset) else "suspended")
    if not pods:
        return JobSet("Pending", f"no pods yet, see why with: {_typed_describe(jobset)}")
    waiting = [pod for pod in pods if value_at(pod, "status", "phase") == "Pending"]
    reason = next((f"{text_at(pod, 'metadata', 'name')}: {why}" for pod in waiting if (why := _why_pending(pod))), None)
    return JobSet("Pending" if len(waiting) == len(pods) else "Running", reason)


def _typed_describe(jobset: dict[str, Any]) -> str:
    name, namespace = (text_at(jobset, "metadata", field) for field in ("name", "namespace"))
    place = [f"--namespace={namespace}"] if namespace else []
    return " ".join(["kubectl", *place, "describe", "jobs", "-l", f"{JOB_LABEL}={name}"])


def _queue(jobset: dict[str, Any]) -> str:
    return text_at(jobset, "metadata", "labels", "kueue.x-k8s.io/queue-name")


def _why_pending(pod: dict[str, Any]) -> str | None:
    for container in (*dicts_at(pod, "status", "initContainerStatuses"), *dicts_at(pod, "status", "containerStatuses")):
        if reason := text_at(container, "state", "waiting", "reason"):
            return _phrase(reason, value_at(container, "state", "waiting", "message"))
    for condition in dicts_at(pod, "status", "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _phrase(condition.get("reason"), condition.get("message"))
    return None


def _phrase(*words: Any) -> str | None:
    return in_one_line(": ".join(word for word in words if isinstance(word, str) and word))[:300] or None


def delete(job: K8sState, run: RunDir, seconds: float, now: bool) -> bool:
    """Delete the run's JobSet and wait until its pods are gone, at most `seconds`. Returns whether they are gone.

    Raises UserError if the JobSet is not the run's, or Kubernetes refuses or does not answer.
    """
    try:
        there = query([*place(job), "get", KIND, job.job, "--ignore-not-found", "-o", "json"])
    except NoAnswer as error:
        message = f"Kubernetes cannot be asked for its JobSets from here: {error}"
        raise UserError(message, f"with kubectl: {typed_delete(job)}") from None
    if not there.strip():
        return True
    _check_own(there, job, run)
    pods = ["pods", "-l", f"{JOB_LABEL}={job.job}", "--grace-period=1", "--wait=false"]
    steps = [["--cascade=foreground", "--wait=false", KIND, job.job], pods] if now else []  # foreground: no new pods
    for step in steps:
        call([*place(job), "delete", "--ignore-not-found", *step], SUBMISSION)
    wait = ["--cascade=foreground", "--wait=true", f"--timeout={seconds:.0f}s", "--ignore-not-found"]
    done = call([*place(job), "delete", KIND, job.job, *wait], seconds + PATIENCE)
    if done is not None and done.returncode and "timed out" not in done.stderr:
        raise UserError(f"kubectl delete has failed: {words(done.stderr)}", f"try: {typed_delete(job)}")
    return done is not None and done.returncode == 0


def _check_own(text: str, job: K8sState, run: RunDir) -> None:
    """Raises UserError unless the JobSet has the run's label. run.json proves nothing: anybody can write it."""
    label = text_at(object_of(text), "metadata", "labels", RUN_LABEL)
    if label != key(run):
        raise UserError(
            f"JobSet {job.job} is not this run's: its label {RUN_LABEL} is {in_one_line(label) or 'missing'}",
            f"the run's is {key(run)}\n  to delete it anyway, type: {typed_delete(job)}",
        )


def typed(job: K8sState, *arguments: str) -> str:
    """A kubectl command about the job, for a person to type."""
    return " ".join(map(quoted, ["kubectl", *place(job), *arguments]))


def typed_delete(job: K8sState) -> str:
    return typed(job, "delete", "jobset", job.job)
