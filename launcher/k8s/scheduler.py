"""Kubernetes, as one of the schedulers: see launcher.jobs.scheduler."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from launcher.config.run import Config
from launcher.config.torchrun import TORCHRUN_PORT
from launcher.k8s import client
from launcher.k8s.client import JobSet
from launcher.k8s.files import notes_of_files
from launcher.k8s.jobset import JOB_LABEL, jobset
from launcher.k8s.yaml import to_yaml
from launcher.numbers import plural
from launcher.plan.spec import Machine, Plan
from launcher.rundir import RunDir
from launcher.runs.state import JobState, K8sState, RunState


class Kubernetes:
    name = "Kubernetes"
    has_our_machine = False
    meeting_port = TORCHRUN_PORT

    def is_chosen(self, config: Config) -> bool:
        return config.k8s.enabled

    def gpus(self, config: Config) -> int:
        return config.k8s.gpus

    def has(self, state: RunState) -> bool:
        return state.k8s is not None

    def own_job(self) -> str | None:
        return client.own_job()

    def restarts(self) -> int:
        return client.restarts()

    def job_of_attempt(self, earlier: RunState | None) -> K8sState:
        known = earlier.k8s if earlier and earlier.k8s else K8sState(job="")
        return known.model_copy(update={"job": client.own_job() or "", "restarts": client.restarts()})

    def passes_on(self, variable: str) -> bool:
        return False

    def no_secret(self, what: str, variable: str | None) -> tuple[str, str]:
        message = f"{what} cannot reach the pods: secrets are not written to a run's files"
        entry = variable or "NAME"
        return message, f"put it into a Secret, as the entry {entry}, and name that instead: --k8s.secrets SECRET"

    def check_plan(self, config: Config, plan: Plan) -> None:
        pass  # the programs are those of the image

    def notes(self, config: Config, machine: Machine) -> Iterable[str]:
        return notes_of_files(config, machine)

    def text(self, config: Config, machine: Machine, run: RunDir, name: str) -> str:
        written = to_yaml(jobset(config, machine, run, name, client.key(run)))
        title = f"# {config.kind} run {name}. Written by launch.\n"
        return title + written

    def file(self, run: RunDir) -> Path:
        return run.jobset

    def unsubmitted(self) -> K8sState:
        return K8sState(job="")

    def submit(self, config: Config, run: RunDir) -> K8sState:
        retries = config.k8s.max_restarts > 0 or config.k8s.queue is not None  # Kueue starts what it has preempted
        return client.create(run.jobset, config.k8s.context, retries)

    def check_installed(self) -> None:
        client.check_installed()

    def described(self, job: JobState, nodes: int) -> str:
        assert isinstance(job, K8sState)
        return f"JobSet {job.job}, {plural(nodes, 'pod')} in namespace {job.namespace}"

    def more_commands(self, job: JobState) -> Sequence[str]:
        assert isinstance(job, K8sState)
        return (client.typed(job, "logs", "-f", "--prefix", "-l", f"{JOB_LABEL}={job.job}"),)

    def ask(self, jobs: Sequence[JobState]) -> Mapping[str, JobSet | str]:
        return client.ask([job for job in jobs if isinstance(job, K8sState)])

    def may_restart(self, state: RunState) -> bool:
        return state.k8s is not None and state.k8s.retries and state.state in ("failed", "stopped")

    def cancel(self, job: JobState, run: RunDir, name: str, seconds: float, now: bool) -> Sequence[str] | None:
        assert isinstance(job, K8sState)
        return () if client.delete(job, run, seconds, now) else None

    def look_at(self, job: JobState) -> tuple[str, str]:
        assert isinstance(job, K8sState)
        return f"JobSet {job.job}", client.typed(job, "get", "pods", "-l", f"{JOB_LABEL}={job.job}")

    def why_terminated(self, job: JobState) -> str | None:
        return None  # only the control plane knows, and a pod need not have access to it
