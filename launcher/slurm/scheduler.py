"""Slurm, as one of the schedulers: see launcher.jobs.scheduler."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from launcher.config.run import Config
from launcher.numbers import plural
from launcher.plan.spec import Machine, Plan
from launcher.rundir import RunDir
from launcher.runs.state import JobState, RunState, SlurmState
from launcher.runs.state_file import TIME_LIMIT
from launcher.slurm import client
from launcher.slurm.client import Job
from launcher.slurm.script import sbatch_script


class Slurm:
    name = "Slurm"
    has_our_machine = True
    meeting_port = 0

    def is_chosen(self, config: Config) -> bool:
        return config.slurm.enabled

    def gpus(self, config: Config) -> int:
        return config.slurm.gpus

    def has(self, state: RunState) -> bool:
        return state.slurm is not None

    def own_job(self) -> str | None:
        return client.own_job()

    def restarts(self) -> int:
        return client.restarts()

    def job_of_attempt(self, earlier: RunState | None) -> SlurmState:
        cluster = earlier.slurm.cluster if earlier and earlier.slurm else None
        return SlurmState(job=client.own_job() or "", cluster=cluster, restarts=client.restarts())

    def passes_on(self, variable: str) -> bool:
        return bool(os.environ.get(variable))

    def no_secret(self, what: str, variable: str | None) -> tuple[str, str]:
        message = f"{what} cannot reach the job: secrets are not written to a run's files"
        if variable:
            return message, f"export {variable}=... instead; sbatch passes it on"
        return message, "export it before you type launch (sbatch passes it on), or name a file with env_file"

    def check_plan(self, config: Config, plan: Plan) -> None:
        if config.slurm.setup:
            client.check_setup(config.slurm.setup)
        else:
            from launcher.machine.probe import check_programs  # `launch status` needs none of that

            check_programs(plan, os.environ)

    def notes(self, config: Config, machine: Machine) -> Iterable[str]:
        return ()

    def text(self, config: Config, machine: Machine, run: RunDir, name: str) -> str:
        return sbatch_script(config, machine, run, name, client.comment_of(run))

    def file(self, run: RunDir) -> Path:
        return run.job_script

    def unsubmitted(self) -> SlurmState:
        return SlurmState(job="")

    def submit(self, config: Config, run: RunDir) -> SlurmState:
        job, cluster = client.submit(str(run.job_script))
        return SlurmState(job=job, cluster=cluster)

    def check_installed(self) -> None:
        client.check_installed()

    def described(self, job: JobState, nodes: int) -> str:
        assert isinstance(job, SlurmState)
        return f"job {job.job}, {plural(nodes, 'node')}" + (f" of {job.cluster}" if job.cluster else "")

    def more_commands(self, job: JobState) -> Sequence[str]:
        return ()

    def ask(self, jobs: Sequence[JobState]) -> Mapping[str, Job | str]:
        known = [job for job in jobs if isinstance(job, SlurmState)]
        answers: dict[str, Job | str] = {}
        for cluster in {job.cluster for job in known}:
            ids = [job.job for job in known if job.cluster == cluster]
            found = client.ask(ids, cluster)
            answers |= dict.fromkeys(ids, "") if found is None else found
        return answers

    def may_restart(self, state: RunState) -> bool:
        return state.state == "stopped" and state.reason in (TIME_LIMIT, "preempted")

    def cancel(self, job: JobState, run: RunDir, name: str, seconds: float, now: bool) -> Sequence[str] | None:
        assert isinstance(job, SlurmState)
        return client.cancel(job.job, job.cluster, run, name, seconds, now)

    def look_at(self, job: JobState) -> tuple[str, str]:
        return f"job {job.job}", f"squeue -j {job.job}"

    def why_terminated(self, job: JobState) -> str | None:
        return client.why_terminated(job.job)
