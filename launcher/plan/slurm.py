"""A run as the text of an sbatch script, from the one template beside this file."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from launcher.config.run import RLConfig, SFTConfig
from launcher.config.slurm import SlurmConfig
from launcher.plan.nodes import node_count
from launcher.plan.spec import Machine
from launcher.rundir import RunDir

TEMPLATE = Path(__file__).with_name("job.sbatch.jinja")
TIME_LIMIT_CODE = 138  # what launch exits with when SIGUSR1 has ended the run


def sbatch_script(config: RLConfig | SFTConfig, machine: Machine, run: RunDir, name: str) -> str:
    """The script that `sbatch` takes. Every path in it is quoted for the shell, and none stands in a directive."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["quote"] = shlex.quote
    nodes = node_count(config)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        kind="rl" if isinstance(config, RLConfig) else "sft",
        name=name,
        directives=list(_directives(config.slurm, nodes, name, config.grace)),
        python=machine.python,
        run=str(run.root),
        cwd=str(machine.cwd),
        setup=config.slurm.setup,
        nodes=nodes,
        lead=config.slurm.lead(config.grace),
        requeue=config.slurm.requeue,
        time_limit_code=TIME_LIMIT_CODE,
    )


def _directives(slurm: SlurmConfig, nodes: int, name: str, grace: float) -> Iterator[str]:
    yield f"--job-name={name}"
    yield f"--nodes={nodes}"
    yield "--ntasks-per-node=1"
    for option in ("partition", "account", "qos", "time", "gpus_per_node", "constraint"):
        value = getattr(slurm, option)
        if value is not None:
            yield f"--{option.replace('_', '-')}={value}"
    if slurm.exclusive:
        yield "--exclusive"
    yield "--output=/dev/null"
    yield f"--signal=B:USR1@{slurm.lead(grace)}"
    yield "--requeue" if slurm.requeue else "--no-requeue"
    yield from slurm.extra
