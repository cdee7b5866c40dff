"""`launch resume`: the next attempt of a run."""

import os
import sys
from pathlib import Path

import typer

from launcher.checkpoints import newest_checkpoint
from launcher.commands.common import AsTyped, typer_command
from launcher.commands.starting.run_command import RUN_OPTIONS, run_command
from launcher.commands.starting.start import check_or_warn
from launcher.config.run import Config, process_count
from launcher.errors import UserError
from launcher.jobs.jobs import check_ended, settled, submitted
from launcher.jobs.schedulers import chosen, own_job
from launcher.jobs.submit import submit
from launcher.machine.limits import check_limits
from launcher.machine.probe import probe
from launcher.options.command import RunRequest
from launcher.options.load import read_config_of_run
from launcher.options.origins import asked
from launcher.plan.build import make_plan
from launcher.plan.render import render
from launcher.plan.rendezvous import plan_nodes
from launcher.rundir import RunDir
from launcher.runs.choice import find_run
from launcher.runs.registry import call_name
from launcher.runs.state import RunState, read_state
from launcher.runs.trust import check_trusted
from launcher.slurm.client import own_step


def resume(ctx: typer.Context) -> int:
    """launch resume [RUN] [OPTIONS] [-- ARGUMENTS]: the next attempt of a run, from its newest complete checkpoint.

    RUN is a run's name, the beginning of it, or its directory; without it the only unfinished run below ./outputs.
    OPTIONS are those of the command that started the run, over the run's own config.toml: what that says is executed.
    ARGUMENTS after -- are added to the trainer's in this attempt and in later ones.
    launch resume RUN --help-all lists them.
    """
    arguments = list(ctx.args)
    name = arguments.pop(0) if arguments and arguments[0][:1] not in ("-", "@") else None
    run, state = find_run(name, "resume")

    def call(request: RunRequest[Config], dry_run: bool, detach: bool, trust: bool) -> int:
        trust = trust or own_job() is not None  # a job trusts the directory that it was submitted from
        check_trusted(run, state.name, "resume", trust)
        return go_on(request, run, settled(run, submitted(run, state)), dry_run, detach, trust)

    own = {name: text for name, text in RUN_OPTIONS.items() if name != "clean"}
    command = run_command(state.kind, call, resume.__doc__ or "", own)
    return int(command.main(arguments, prog_name=f"launch resume {state.name}", standalone_mode=False))


def go_on(
    request: RunRequest[Config],
    run: RunDir,
    state: RunState,
    dry_run: bool,
    detach: bool,
    trust: bool = False,
) -> int:
    """`launch resume`: the next attempt of a run. Returns the exit code, and raises UserError."""
    request.layers.insert(0, read_config_of_run(run.config))
    request.added_to = "args" if state.state == "queued" else "resume_args"  # a queued run has had no attempt yet
    config = request.load()
    what = asked(config, request.all_layers(), sys.argv)
    if config.output_dir is not None or config.name not in (None, state.name):
        raise UserError("a resumed run keeps its name and its directory", "leave out --name and --output-dir")
    scheduler = None if own_job() else chosen(config)
    nodes = None if scheduler else plan_nodes(config, own_step())
    earlier = _of_this_node(run, state, nodes.rank if nodes else None)
    check_ended(run.on(earlier.node), earlier)
    if state.cwd.is_dir():
        os.chdir(state.cwd)  # relative paths mean what they did when the run was first started
    _check_unfinished(config, run, state)
    attempt = state.attempt + (state.state != "queued")
    if scheduler:
        return submit(scheduler, config, run.of(attempt), state.name, dry_run, earlier=state, trust=trust, asked=what)
    check_limits(process_count(config))
    machine = probe(config, state.run_id, nodes, what)
    plan = make_plan(config, machine, run.of(attempt), state.name)
    check_or_warn(plan, dry_run)
    if dry_run:
        sys.stdout.write(render(plan, Path.cwd(), files_are_written=False))
        return 0
    from launcher.commands.starting.carry_out import carry_out  # not for a dry run

    return carry_out(config, machine, plan, detach, earlier=earlier, trust=trust)


def _of_this_node(run: RunDir, state: RunState, node: int | None) -> RunState:
    """This node's own state of the last attempt. A node that took no part in it has nothing to wait for."""
    if not node or node == state.node:
        return state
    nothing = state.model_copy(update={"state": "queued", "earlier": [], "node": node})
    return read_state(run.on(node)) or nothing


def _check_unfinished(config: Config, run: RunDir, state: RunState) -> None:
    done, last = newest_checkpoint(run) or 0, config.known_steps
    if config.trainer.is_reference and last is not None and done >= last:
        more = f", and max_steps is {last}" if done > last else ""
        raise UserError(
            f"{state.name} has made {done} steps already{more}",
            f"go further with: launch resume {call_name(run.root, state.name)} --max-steps {2 * done}",
        )


# its options depend on the run that it finds
command = typer_command(resume, AsTyped, ignore_unknown_options=True, allow_extra_args=True)
