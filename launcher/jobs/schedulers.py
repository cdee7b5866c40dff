"""The schedulers that launch knows."""

from launcher.config.run import Config
from launcher.jobs.scheduler import Scheduler
from launcher.k8s.scheduler import Kubernetes
from launcher.runs.state import RunState
from launcher.slurm.scheduler import Slurm

SCHEDULERS: tuple[Scheduler, ...] = (Slurm(), Kubernetes())


def chosen(config: Config) -> Scheduler | None:
    """Where the run is to be submitted to. None: it is carried out here."""
    return next((each for each in SCHEDULERS if each.is_chosen(config)), None)


def scheduler_of(state: RunState) -> Scheduler | None:
    """Where the run was submitted to. None: it was started by hand."""
    return next((each for each in SCHEDULERS if each.has(state)), None)


def own_scheduler() -> Scheduler | None:
    """The scheduler whose job started this process."""
    return next((each for each in SCHEDULERS if each.own_job()), None)


def own_job() -> str | None:
    """The job that started this process."""
    scheduler = own_scheduler()
    return scheduler.own_job() if scheduler else None
