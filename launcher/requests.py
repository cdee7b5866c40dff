"""What `launch rl`, `launch sft` and `launch resume` do with what was typed: load, probe, plan, then render or run."""

import os
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.checkpoints import newest_checkpoint
from launcher.config.command import Request
from launcher.config.load import read_config_of_run
from launcher.config.run import RLConfig, RunConfig, SFTConfig, started_processes
from launcher.config.workload import INFERENCE_TOKEN
from launcher.errors import UserError
from launcher.plan.build import make_plan
from launcher.plan.nodes import plan_nodes
from launcher.plan.spec import Machine, Plan
from launcher.registry import call_name
from launcher.run.limits import check_limits
from launcher.run.liveness import check_ended
from launcher.run.prepare import check_free, prepare_by_hand
from launcher.run.probe import check_programs, probe
from launcher.run.slurm import own_job
from launcher.run.state import RunState, read_state
from launcher.run.trust import check_trusted
from launcher.rundir import RunDir
from launcher.screen import printable, quoted

if TYPE_CHECKING:
    from launcher.run.meeting import Meeting


def start(
    request: Request[RLConfig] | Request[SFTConfig], dry_run: bool, clean: bool, detach: bool, trust: bool
) -> int:
    """`launch rl` and `launch sft`: a new run, and its first attempt. Returns the exit code, and raises UserError."""
    config = request.load()
    run, name = _name_and_directory(config)
    kind = "rl" if isinstance(config, RLConfig) else "sft"
    check_trusted(run, quoted(str(run.root)), f"{kind}{' --clean' if clean else ''}", trust)
    if config.slurm.enabled:
        from launcher.submit import submit

        return submit(config, run, name, dry_run, clean, trust=trust)
    check_limits(_process_count(config))
    machine = probe(config, nodes=plan_nodes(config))
    plan = make_plan(config, machine, run, name)
    check_programs(plan, os.environ)
    if dry_run:
        return _show(plan, write=config.output_dir is not None, clean=clean)
    return _carry_out(config, machine, plan, detach, clean=clean, trust=trust)


def _process_count(config: RLConfig | SFTConfig) -> int:
    return len(started_processes(config)) + (config.trainer.nproc or 0)


def _name_and_directory(config: RunConfig) -> tuple[RunDir, str]:
    name = config.name
    while name is None:
        from coolname import generate_slug

        drawn = generate_slug(2)
        name = None if Path("outputs", drawn).exists() else drawn
    return _directory(config, name), name


def _directory(config: RunConfig, name: str) -> RunDir:
    return RunDir(Path.cwd() / (config.output_dir or Path("outputs", name)))


def _show(plan: Plan, write: bool, clean: bool) -> int:
    from launcher.plan.render import render

    if write:
        prepare_by_hand(plan, clean)
    else:
        check_free(plan.run, clean)
    sys.stdout.write(render(plan, Path.cwd(), files_are_written=write))
    return 0


def go_on(
    request: Request[RLConfig] | Request[SFTConfig],
    run: RunDir,
    state: RunState,
    dry_run: bool,
    detach: bool,
    trust: bool = False,
) -> int:
    """`launch resume`: the next attempt of a run. Returns the exit code, and raises UserError."""
    request.layers.insert(0, read_config_of_run(run.config))
    config = request.load()
    if config.output_dir is not None or config.name not in (None, state.name):
        raise UserError("a resumed run keeps its name and its directory", "leave out --name and --output-dir")
    by_slurm = config.slurm.enabled and not own_job()
    nodes = None if by_slurm else plan_nodes(config)
    earlier = _of_this_node(run, state, nodes.rank if nodes else None)
    check_ended(run.on(earlier.node), earlier)
    if state.cwd.is_dir():
        os.chdir(state.cwd)  # relative paths mean what they did when the run was first started
    _check_unfinished(config, run, state)
    attempt = state.attempt + (state.state != "queued")
    if by_slurm:
        from launcher.submit import submit

        return submit(config, run.of(attempt), state.name, dry_run, earlier=state, trust=trust)
    check_limits(_process_count(config))
    machine = probe(config, state.run_id, nodes)
    plan = make_plan(config, machine, run.of(attempt), state.name)
    check_programs(plan, os.environ)
    if dry_run:
        from launcher.plan.render import render

        sys.stdout.write(render(plan, Path.cwd(), files_are_written=False))
        return 0
    return _carry_out(config, machine, plan, detach, earlier=earlier, trust=trust)


def _of_this_node(run: RunDir, state: RunState, node: int | None) -> RunState:
    """What this node has written of the attempt before; one that has not taken part yet has nothing to wait for."""
    if not node or node == state.node:
        return state
    nothing = state.model_copy(update={"state": "queued", "earlier": [], "node": node})
    return read_state(run.on(node)) or nothing


def _check_unfinished(config: RLConfig | SFTConfig, run: RunDir, state: RunState) -> None:
    done = newest_checkpoint(run) or 0
    if config.trainer.is_reference and done >= config.max_steps:
        more = f", and max_steps is {config.max_steps}" if done > config.max_steps else ""
        raise UserError(
            f"{state.name} has made {done} steps already{more}",
            f"go further with: launch resume {call_name(run.root, state.name)} --max-steps {2 * done}",
        )


def _carry_out(
    config: RLConfig | SFTConfig,
    machine: Machine,
    plan: Plan,
    detach: bool,
    clean: bool = False,
    earlier: RunState | None = None,
    trust: bool = False,
) -> int:
    """Run the plan; with several nodes when all of them are there, and as node 0 has called the run."""
    from launcher.start import carry_out

    run, name, attempt, meeting = plan.run, plan.name, plan.run.attempt, None
    if plan.nodes is None:
        machine = replace(machine, inference_token=os.environ.get(INFERENCE_TOKEN) or secrets.token_urlsafe())
    else:
        meeting = _meet(config, machine, plan, clean, earlier)
        name, attempt = meeting.welcome.name, meeting.welcome.attempt
        from launcher.run.seal import inference_token

        token = inference_token(meeting.secret, meeting.welcome.run_id) if meeting.secret else ""
        machine = replace(machine, nodes=meeting.nodes, run_id=meeting.welcome.run_id, inference_token=token)
        run = run if earlier else _directory(config, name)

    def plan_attempt(attempt: int) -> Plan:
        return make_plan(config, machine, run.of(attempt), name)

    return carry_out(plan_attempt, attempt, config, clean, detach, earlier, meeting, trust)


def _meet(
    config: RLConfig | SFTConfig, machine: Machine, plan: Plan, clean: bool, earlier: RunState | None
) -> "Meeting":
    """Wait for the other nodes, unless it can be known before that this one cannot begin."""
    from launcher.run.join import meet
    from launcher.run.join_secret import join_secret

    assert plan.nodes is not None
    if earlier is None:
        check_free(plan.run, clean)
    beside = plan.run.root.parent if plan.kind == "rl" else None  # nodes of sft may have a directory each
    secret = join_secret(config.join_secret_file, os.environ, plan.nodes, beside)
    name = config.name if earlier is None else plan.name
    port = (config.inference.port or machine.free_port) if isinstance(config, RLConfig) else 0
    return meet(plan, name, port, config.join_timeout, lambda text: print(printable(text), flush=True), secret)
