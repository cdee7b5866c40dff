"""A run's JobSet (jobset.x-k8s.io/v1alpha2): a replicated job for each group of nodes, a supervisor in each pod."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from launcher.borders.screen import quoted
from launcher.config.jobs.k8s import IMAGES_USER, SHM_VOLUME, K8sConfig, toleration_of
from launcher.config.run import Config
from launcher.config.torchrun import TORCHRUN_PORT
from launcher.errors import UserError
from launcher.k8s.files import check_files, volume_below
from launcher.plan.nodes import Nodes
from launcher.plan.rendezvous import node_count, nodes_at
from launcher.plan.spec import Machine
from launcher.rundir import RunDir

GRACE_MARGIN = 30  # seconds after the grace, for launch's own end
FINAL_CODES = (2, 129, 130, 131)  # the request was wrong, or a person ended the run: the next attempt would not help
RUN_LABEL, JOB_LABEL = "launch/run", "launch/job"  # the key of the run's directory; the JobSet's name, also of its pods
FIRST_NODE = "launch/first-node"  # of a pod: the rank of the first node in its replicated job
JOB_VARIABLE, RESTARTS_VARIABLE = "LAUNCH_K8S_JOB", "LAUNCH_K8S_RESTARTS"
CONTAINER = "launch"
_RESTARTS = "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"
_LONGEST_SLUG = 23  # a pod is <slug>-<key>-<id>-<attempt>-inference-0-9999-abcde, at most 63 characters
_SHM = Path("/dev/shm")
_ON_NODE = 'exec "$@" --node-rank "$((JOB_COMPLETION_INDEX + {first}))"'

Object = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """Nodes that are alike: a replicated job."""

    name: str
    first: int  # the rank of its first node
    count: int


def job_name(name: str, key: str, run_id: str, attempt: int) -> str:
    """The JobSet's name, a DNS label. Each submission has its own: an ended JobSet need not be deleted before.

    Another run in the same directory (--clean) has another `run_id`.
    """
    slug = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    slug = slug if slug[:1].isalpha() else f"run-{slug}"
    return f"{slug[:_LONGEST_SLUG].strip('-')}-{key[:6]}-{run_id[:4]}-{attempt}"


def jobset(config: Config, machine: Machine, run: RunDir, name: str, key: str) -> Object:
    """The JobSet, for `kubectl create`. `key` is that of the run's directory. Raises UserError."""
    k8s, job = config.k8s, job_name(name, key, machine.run_id, run.attempt)
    _check(config, run)
    check_files(config, machine)
    count = node_count(config)
    nodes = nodes_at(config, 0, f"{job}-trainer-0-0.{job}", TORCHRUN_PORT) if count > 1 else None
    groups = list(_groups(nodes))
    labels = {RUN_LABEL: key, JOB_LABEL: job}
    queue = {"kueue.x-k8s.io/queue-name": k8s.queue} if k8s.queue else {}
    metadata = {"name": job, "namespace": k8s.namespace, "labels": labels | queue, "annotations": {"launch/name": name}}
    spec = {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "successPolicy": {"operator": "All", "targetReplicatedJobs": list(_finishing(groups, nodes))},
        "failurePolicy": {
            "maxRestarts": k8s.max_restarts,
            "restartStrategy": "BlockingRecreate",
            "rules": [{"name": "final", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
        },
        "ttlSecondsAfterFinished": None if k8s.ttl is None else ceil(k8s.ttl),
        "replicatedJobs": [
            {"name": group.name, "replicas": 1, "template": _job(config, machine, run, job, labels, group, nodes)}
            for group in groups
        ],
    }
    kind = {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet"}
    found: Object = _filled({**kind, "metadata": metadata, "spec": spec})
    return found


def _check(config: Config, run: RunDir) -> None:
    """Raises UserError if the pods could not read the run's directory, or the run is not for a fixed set of nodes."""
    where = quoted(str(run.root))
    volume = volume_below(config.k8s, run.root)
    if volume is None or volume.read_only:
        mounted = ", ".join(str(each.path) for each in config.k8s.mounts.values() if not each.read_only)
        raise UserError(
            f"--k8s: the run's directory {where} is not on a volume that the pods can write to",
            "mount the claim where it is mounted here too: --k8s.volumes NAME=CLAIM:/PATH, and --output-dir below /PATH"
            + (f"\n  volumes that they can write to: {mounted}" if mounted else ""),
        )
    try:
        str(run.root).encode()
    except UnicodeEncodeError:
        raise UserError(f"--k8s: {where} is not UTF-8, and Kubernetes takes nothing else") from None
    if ":" in config.trainer.torchrun.nnodes:
        raise UserError(
            f"--k8s: --nnodes {config.trainer.torchrun.nnodes} is a range, and a JobSet has a fixed number of pods",
            "give one number",
        )


def _groups(nodes: Nodes | None) -> Iterator[Group]:
    yield Group("trainer", 0, nodes.trainer if nodes else 1)
    if nodes and nodes.inference:
        yield Group("inference", nodes.trainer, nodes.inference)


def _finishing(groups: list[Group], nodes: Nodes | None) -> Iterator[str]:
    """The groups whose pods must have exited with 0. In the end, the others are ended by JobSet."""
    for group in groups:
        ranks = range(group.first, group.first + group.count)
        if nodes is None or any(nodes.finishes(rank) for rank in ranks):
            yield group.name


def _job(
    config: Config,
    machine: Machine,
    run: RunDir,
    job: str,
    labels: Object,
    group: Group,
    nodes: Nodes | None,
) -> Object:
    codes = {"containerName": CONTAINER, "operator": "In", "values": list(FINAL_CODES)}
    ranks = {"annotations": {FIRST_NODE: str(group.first)}} if nodes else {}
    template = {"metadata": {"labels": dict(labels), **ranks}, "spec": _pod(config, machine, run, job, group, nodes)}
    spec = {
        "completionMode": "Indexed",
        "completions": group.count,
        "parallelism": group.count,
        "backoffLimit": 0,  # a run does not continue without one of its nodes: all of them start anew
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": codes}]},
        "template": template,
    }
    return {"metadata": {"labels": dict(labels)}, "spec": spec}


def _pod(config: Config, machine: Machine, run: RunDir, job: str, group: Group, nodes: Nodes | None) -> Object:
    k8s = config.k8s
    container: Object = {
        "name": CONTAINER,
        "image": k8s.image,
        "command": [escaped(word) for word in _command(k8s, run, job, group, nodes)],
        "workingDir": str(machine.cwd) if volume_below(k8s, machine.cwd) else None,
        "env": [{"name": RESTARTS_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": _RESTARTS}}}],
        "envFrom": [{"secretRef": {"name": secret}} for secret in k8s.secrets],
        "resources": _resources(k8s),
        "volumeMounts": [
            {"name": name, "mountPath": str(volume.path), "readOnly": volume.read_only or None}
            for name, volume in k8s.mounts.items()
        ],
    }
    volumes: list[Object] = [
        {"name": name, "persistentVolumeClaim": {"claimName": volume.claim, "readOnly": volume.read_only or None}}
        for name, volume in k8s.mounts.items()
    ]
    if _SHM not in (Path(volume.path) for volume in k8s.mounts.values()):
        container["volumeMounts"].append({"name": SHM_VOLUME, "mountPath": str(_SHM)})
        volumes.append({"name": SHM_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": k8s.shared_memory}})
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": ceil(config.grace) + GRACE_MARGIN,
        "serviceAccountName": k8s.service_account,
        "securityContext": _user(k8s, machine),
        "imagePullSecrets": [{"name": secret} for secret in k8s.pull_secrets],
        "nodeSelector": dict(k8s.node_selector),
        "tolerations": [_toleration(text) for text in k8s.tolerations],
        "containers": [container],
        "volumes": volumes,
    }


def _user(k8s: K8sConfig, machine: Machine) -> Object:
    """Whose processes and files they are. By default the submitter's, who is to read and end the run."""
    if k8s.user == IMAGES_USER:
        return {}
    user, _, group = (k8s.user or machine.user).partition(":")
    return {"runAsUser": int(user), "runAsGroup": int(group) if group else None}


def _command(k8s: K8sConfig, run: RunDir, job: str, group: Group, nodes: Nodes | None) -> list[str]:
    """`launch resume`, which starts the next attempt: the first one, or after a restart one from the checkpoint.

    The variable tells it that this job calls it. In the container's own variables, `kubectl exec` would have it too.
    """
    resume = ["/usr/bin/env", f"{JOB_VARIABLE}={job}", k8s.python, "-P", "-m", "launcher", "resume", str(run.root)]
    if nodes is None:
        return resume
    shell = ["/bin/sh", "-c", _ON_NODE.format(first=group.first), "launch"]
    return [*shell, *resume, "--rdzv-endpoint", f"{nodes.host}:{nodes.port}"]


def escaped(word: str) -> str:
    """The word as Kubernetes must be given it: it replaces $(NAME), and takes $$ for a dollar."""
    return word.replace("$", "$$")


def _resources(k8s: K8sConfig) -> Object:
    gpus = {k8s.gpu_resource: k8s.gpus or None}
    return {"requests": {"cpu": k8s.cpu, "memory": k8s.memory, **gpus}, "limits": {"memory": k8s.memory, **gpus}}


def _toleration(text: str) -> Object:
    taint = toleration_of(text)
    operator = "Exists" if taint.value is None else "Equal"
    return {"key": taint.key, "operator": operator, "value": taint.value, "effect": taint.effect}


def _filled(value: Any) -> Any:
    """Without what is None or empty, at any depth."""
    if isinstance(value, list):
        return [_filled(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {key: _filled(each) for key, each in value.items()}
    return {key: each for key, each in found.items() if each is not None and each not in ({}, [])}
