"""Submits a configuration as a job: `--slurm` and `--k8s` of the commands that start a run, and of `launch resume`."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from launcher.borders.files import write_atomically
from launcher.borders.masking import MASK
from launcher.borders.screen import in_lines, printable
from launcher.config.notify import APPRISE, WEBHOOK
from launcher.config.run import Config, RLConfig
from launcher.config.torchrun import NOWHERE
from launcher.errors import UserError
from launcher.jobs.scheduler import Scheduler
from launcher.machine.hub import Unreachable
from launcher.machine.probe import probe
from launcher.machine.provenance import provenance
from launcher.options.comments import Asked
from launcher.plan.build import make_plan
from launcher.plan.rendezvous import launch_count, node_count, nodes_at, plan_nodes
from launcher.plan.spec import Machine, Plan
from launcher.rundir import RunDir
from launcher.runs.directory import PRIVATE, check_free, point_latest_at, prepare, remove_run
from launcher.runs.registry import call_name, register
from launcher.runs.state import JobState, RunState
from launcher.runs.state_file import StateFile, first_state


def submit(
    scheduler: Scheduler,
    config: Config,
    run: RunDir,
    name: str,
    dry_run: bool,
    clean: bool = False,
    earlier: RunState | None = None,
    trust: bool = False,
    asked: Asked | None = None,
) -> int:
    """Write the run's directory and submit its job, or print the script. Returns 0. Raises UserError.

    The plan is made here too: it finds mistakes before the job queues, and has the files to write.
    """
    _check_meeting_point(config)
    config = _with_channels_of_the_environment(scheduler, config)
    machine = _node(scheduler, config, earlier, asked)
    plan = make_plan(config, machine, run, name)
    if machine.nodes and machine.nodes.inference:  # what only these nodes could not carry out is found here as well
        make_plan(config, replace(machine, nodes=replace(machine.nodes, rank=machine.nodes.trainer)), run, name)
    _check_secrets(scheduler, plan)
    try:
        scheduler.check_plan(config, plan)
    except Unreachable as unreachable:  # from here; the job's nodes may reach it
        print(printable(f"launch: warning: {unreachable}"), file=sys.stderr)
    text = scheduler.text(config, machine, run, name)
    unused = _unused(config) if earlier is None else ()  # an attempt in a job has written its own there
    plan = replace(plan, notes=(*plan.notes, *unused, *scheduler.notes(config, machine)))
    if dry_run:
        if earlier is None:
            check_free(run, clean)
        for note in plan.notes:
            print(printable(f"launch: note: {note}"), file=sys.stderr)
        sys.stdout.write(text)
        return 0
    scheduler.check_installed()
    job = _queue(scheduler, plan, config, text, clean, earlier, trust)
    if config.output_dir is None and earlier is None:
        point_latest_at(run)
    register(run.root, name)
    print(_submitted(scheduler, plan, job, launch_count(config)), end="")
    return 0


def _check_meeting_point(config: Config) -> None:
    """Raises UserError for a meeting point beside the one that a job of several nodes is given."""
    settings = config.trainer.torchrun
    for flag, value in {"--master-addr": settings.master_addr, "--master-port": settings.master_port}.items():
        if value is not None and node_count(config) > 1:
            raise UserError(f"{flag} {value}: a job of several nodes has a meeting point of its own", "leave it out")


def _unused(config: Config) -> Iterator[str]:
    settings = config.trainer.torchrun
    endpoint = None if settings.rdzv_endpoint == NOWHERE else settings.rdzv_endpoint
    for flag, value in {"--node-rank": settings.node_rank, "--rdzv-endpoint": endpoint}.items():
        if value is not None and node_count(config) > 1:
            yield f"{flag} {value} is not used: each node of the job is told its own rank, and where they meet"


def _node(scheduler: Scheduler, config: Config, earlier: RunState | None, asked: Asked | None) -> Machine:
    """A node of the job, as far as it is known: this machine's programs and the requested GPUs."""
    several = node_count(config) > 1
    nodes = nodes_at(config, 0, "node-0", scheduler.meeting_port) if several else plan_nodes(config)
    asks = _on_any_port(config)
    asks = asks if scheduler.has_our_machine else _with_any_python(asks)
    machine = probe(asks, earlier.run_id if earlier else None, nodes, asked)
    gpus = tuple(str(index) for index in range(scheduler.gpus(config)))
    # whether the hub can be reached from the job's node, `launch` finds out there
    return replace(
        machine, gpus=gpus, without_hub=None, wandb_login=machine.wandb_login or not scheduler.has_our_machine
    )


def _on_any_port(config: Config) -> Config:
    """Without the ports: they must be free on the job's node, not here."""
    services = {name: service.model_copy(update={"port": 0}) for name, service in config.services.items()}
    config = config.model_copy(update={"services": services})
    if not isinstance(config, RLConfig):
        return config
    return config.model_copy(update={"inference": config.inference.model_copy(update={"port": 0})})


def _with_any_python(config: Config) -> Config:
    """Without the interpreters of components: they are in an image, not here."""
    names = [name for name in ("trainer", "orchestrator", "inference") if hasattr(config, name)]
    changed = {name: getattr(config, name).model_copy(update={"python": None}) for name in names}
    services = {name: each.model_copy(update={"python": None}) for name, each in config.services.items()}
    return config.model_copy(update={**changed, "services": services})


def _with_channels_of_the_environment(scheduler: Scheduler, config: Config) -> Config:
    """Without the URLs of notifications, which are secrets: the job has them from variables."""
    given = {"webhook": WEBHOOK, "apprise": APPRISE} if config.notify.enabled else {}
    for name, variable in given.items():
        if getattr(config.notify, name) is not None and not scheduler.passes_on(variable):
            raise UserError(*scheduler.no_secret(f"--notify.{name}", variable))
    notify = config.notify.model_copy(update=dict.fromkeys(given))
    return config.model_copy(update={"notify": notify})


def _check_secrets(scheduler: Scheduler, plan: Plan) -> None:
    text = next(text for path, text in plan.files if path == plan.run.config)
    if f'"{MASK}"' in text:
        raise UserError(*scheduler.no_secret("a secret in `env`", None))


def _queue(
    scheduler: Scheduler,
    plan: Plan,
    config: Config,
    text: str,
    clean: bool,
    earlier: RunState | None,
    trust: bool,
) -> JobState:
    """Write all files of the run, then submit the job. If it is refused, a new run's files are removed.

    An earlier run stays and can be resumed.
    """
    lock = prepare(plan, clean, resume=earlier is not None, trust=trust)
    try:
        state = StateFile(plan.run, first_state(plan, provenance(), earlier, scheduler.unsubmitted()))
        write_atomically(scheduler.file(plan.run), text, PRIVATE)
        state.state.state, state.state.tmux_socket = "queued", config.tmux.socket_name
        state.write()
        job = scheduler.submit(config, plan.run)
    except BaseException:
        _undo(plan.run, earlier)
        raise
    finally:
        os.close(lock)
    state.state.put_job(job)
    state.write()
    return job


def _undo(run: RunDir, earlier: RunState | None) -> None:
    with suppress(OSError):
        if earlier:
            StateFile(run, earlier).write()
        else:
            remove_run(run)


def _submitted(scheduler: Scheduler, plan: Plan, job: JobState, nodes: int) -> str:
    typed = call_name(plan.run.root, plan.name)
    lines = [f"{plan.kind} run {plan.name}: submitted as {scheduler.described(job, nodes)}"]
    lines.append(f"  directory    {plan.run.root}")
    lines += [f"  note         {note}" for note in plan.notes]
    commands = [
        f"launch {each}" for each in (f"status {typed}", f"logs {typed} -f", f"attach {typed}", f"stop {typed}")
    ]
    lines += [
        f"  {'next' if command == commands[0] else '':<10} {command}"
        for command in (*commands, *scheduler.more_commands(job))
    ]
    return in_lines(lines) + "\n"
