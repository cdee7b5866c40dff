"""What `launch` needs of a scheduler that carries out runs: Slurm, Kubernetes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from launcher.config.run import Config
from launcher.plan.spec import Machine, Plan
from launcher.rundir import RunDir
from launcher.runs.liveness import TrueState
from launcher.runs.state import JobState, RunState


class Job(Protocol):
    """A scheduler's view of a job: its state in the scheduler's words, and why it waits or how it ended."""

    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def is_waiting(self) -> bool: ...
    @property
    def is_living(self) -> bool:
        """Whether it waits, runs or is just ending."""
        ...

    @property
    def was_interrupted(self) -> bool:
        """Whether the scheduler ended it, and not what ran in it."""
        ...

    @property
    def ending(self) -> TrueState:
        """What became of a run whose run.json does not know of its end."""
        ...


Jobs = Mapping[str, Job | str]
"""By id. A job that the scheduler no longer knows is missing. Text: it does not answer, and why, if that is known."""


class Scheduler(Protocol):
    """Carries out runs. A method without a job is about this process or this machine."""

    name: str
    has_our_machine: bool  # whether its nodes have this machine's programs and logins
    meeting_port: int  # on node 0 of a job with several nodes; 0: only the job knows it

    def is_chosen(self, config: Config) -> bool:
        """Whether the configuration says that the run is submitted to it."""
        ...

    def gpus(self, config: Config) -> int:
        """GPUs on each node; 0 if the request names none."""
        ...

    def has(self, state: RunState) -> bool:
        """Whether the run was submitted to it."""
        ...

    def own_job(self) -> str | None:
        """The job that started this process."""
        ...

    def restarts(self) -> int:
        """How often our own job was started anew."""
        ...

    def job_of_attempt(self, earlier: RunState | None) -> JobState:
        """Our own job, for run.json."""
        ...

    def passes_on(self, variable: str) -> bool:
        """Whether the job gets this variable of our environment."""
        ...

    def no_secret(self, what: str, variable: str | None) -> tuple[str, str]:
        """Message and hint: the job does not have a secret. `variable` would bring it, if that is known."""
        ...

    def check_plan(self, config: Config, plan: Plan) -> None:
        """Raises UserError for what is known here to fail in the job."""
        ...

    def notes(self, config: Config, machine: Machine) -> Iterable[str]:
        """What a person should know of the job before it runs."""
        ...

    def text(self, config: Config, machine: Machine, run: RunDir, name: str) -> str:
        """What is submitted. Raises UserError."""
        ...

    def file(self, run: RunDir) -> Path:
        """Where it is written."""
        ...

    def unsubmitted(self) -> JobState:
        """A job without an id: one that starts before its id is written waits for it."""
        ...

    def submit(self, config: Config, run: RunDir) -> JobState:
        """Submit the file. Raises UserError with the scheduler's own message."""
        ...

    def check_installed(self) -> None:
        """Raises UserError if this machine lacks the scheduler's tools."""
        ...

    def described(self, job: JobState, nodes: int) -> str:
        """A job that was just submitted, in a few words."""
        ...

    def more_commands(self, job: JobState) -> Sequence[str]:
        """The scheduler's own commands that are worth knowing."""
        ...

    def ask(self, jobs: Sequence[JobState]) -> Jobs:
        """Its view of the jobs. Never raises or hangs."""
        ...

    def may_restart(self, state: RunState) -> bool:
        """Whether it may start another attempt of a run that has ended."""
        ...

    def cancel(self, job: JobState, run: RunDir, name: str, seconds: float, now: bool) -> Sequence[str] | None:
        """Cancel the run's job and wait until it is gone, at most `seconds`. None if it is not.

        Returns the nodes that it did not wait for, since they do not answer the scheduler; usually none.

        Raises UserError if the job is not the run's, or the scheduler refuses or does not answer.
        """
        ...

    def look_at(self, job: JobState) -> tuple[str, str]:
        """How a person calls the job, and the command that shows it."""
        ...

    def why_terminated(self, job: JobState) -> str | None:
        """Why it sent SIGTERM to our own job, if it says so."""
        ...
