"""The sbatch script of a run, from the template beside this file."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from launcher.config.run import Config
from launcher.plan.rendezvous import launch_count
from launcher.plan.spec import Machine
from launcher.rundir import RunDir

TEMPLATE = Path(__file__).with_name("job.sbatch.jinja")
TIME_LIMIT_CODE = 138  # launch's exit code after SIGUSR1 has ended the run


def sbatch_script(config: Config, machine: Machine, run: RunDir, name: str, comment: str) -> str:
    """The script for `sbatch`. Paths are quoted for the shell and never appear in a directive.

    `comment` identifies the job as this run's.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["quote"] = shlex.quote
    nodes = launch_count(config)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        kind=config.kind,
        name=name,
        directives=list(_directives(config, nodes, name, comment)),
        python=machine.python,
        run=str(run.root),
        cwd=str(machine.cwd),
        setup=config.slurm.setup,
        nodes=nodes,
        outlives=outlives_nodes(config),
        lead=config.slurm.lead(config.grace),
        requeue=config.slurm.requeue,
        time_limit_code=TIME_LIMIT_CODE,
    )


def outlives_nodes(config: Config) -> bool:
    """Whether the job goes on when one of its nodes fails."""
    return config.spare_nodes > 0 or config.min_nodes is not None


def _directives(config: Config, nodes: int, name: str, comment: str) -> Iterator[str]:
    slurm = config.slurm
    yield f"--job-name={name}"
    yield f"--comment={comment}"
    yield f"--nodes={nodes}"
    yield "--ntasks-per-node=1"
    for option in ("partition", "account", "qos", "time", "gpus_per_node", "constraint"):
        value = getattr(slurm, option)
        if value is not None:
            yield f"--{option.replace('_', '-')}={value}"
    if slurm.exclusive:
        yield "--exclusive"
    yield "--output=/dev/null"
    yield f"--signal=B:USR1@{slurm.lead(config.grace)}"
    yield "--requeue" if slurm.requeue else "--no-requeue"
    if outlives_nodes(config):
        yield "--no-kill"
    yield from slurm.extra
