"""What `launch rl`, `launch sft` and `launch train` do with what was typed: load, probe, plan, then render or run."""

import os
import sys
from pathlib import Path

from launcher.borders.screen import printable, quoted
from launcher.config.run import Config, RunConfig, process_count
from launcher.errors import UserError
from launcher.jobs.schedulers import chosen
from launcher.jobs.submit import submit
from launcher.machine.limits import check_limits
from launcher.machine.probe import check_programs, probe
from launcher.options.command import RunRequest
from launcher.options.origins import asked
from launcher.plan.build import make_plan
from launcher.plan.render import render
from launcher.plan.rendezvous import check_common_id, plan_nodes
from launcher.plan.spec import Plan
from launcher.rundir import RunDir
from launcher.runs.directory import check_free, directory_of, prepare_by_hand
from launcher.runs.trust import check_trusted
from launcher.slurm.client import own_step


def start(request: RunRequest[Config], dry_run: bool, clean: bool, detach: bool, trust: bool) -> int:
    """A new run, and its first attempt. Returns the exit code, and raises UserError."""
    config = request.load()
    what = asked(config, request.all_layers(), sys.argv)
    run, name = _name_and_directory(config)
    check_trusted(run, quoted(str(run.root)), f"{config.kind}{' --clean' if clean else ''}", trust)
    if scheduler := chosen(config):
        return submit(scheduler, config, run, name, dry_run, clean, trust=trust, asked=what)
    check_limits(process_count(config))
    nodes = plan_nodes(config, own_step())
    if nodes is None:
        check_common_id(config)
    machine = probe(config, nodes=nodes, asked=what)
    plan = make_plan(config, machine, run, name)
    check_or_warn(plan, dry_run)
    if dry_run:
        return _show(plan, write=config.output_dir is not None, clean=clean)
    from launcher.commands.starting.carry_out import carry_out  # not for a dry run

    return carry_out(config, machine, plan, detach, clean=clean, trust=trust)


def check_or_warn(plan: Plan, dry_run: bool) -> None:
    """Raises UserError when a program is missing. A dry run only warns: it may be meant for another machine."""
    try:
        check_programs(plan, os.environ)
    except UserError as missing:
        if not dry_run:
            raise
        print(printable(f"launch: warning: it would not start here: {missing}"), file=sys.stderr)


def _name_and_directory(config: RunConfig) -> tuple[RunDir, str]:
    name = config.name
    while name is None:
        from coolname import generate_slug

        drawn = generate_slug(2)
        name = None if Path("outputs", drawn).exists() else drawn
    return directory_of(config.output_dir, name), name


def _show(plan: Plan, write: bool, clean: bool) -> int:
    if write:
        prepare_by_hand(plan)
    else:
        check_free(plan.run, clean)
    sys.stdout.write(render(plan, Path.cwd(), files_are_written=write))
    return 0
