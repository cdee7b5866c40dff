"""Submits a configuration as a Slurm job: `--slurm` of `launch rl`, `launch sft` and `launch resume`."""

import os
import sys
from contextlib import suppress
from dataclasses import replace

from launcher.borders.files import write_atomically
from launcher.borders.masking import MASK
from launcher.borders.screen import in_lines
from launcher.config.notify import APPRISE, WEBHOOK
from launcher.config.run import Config, RLConfig
from launcher.config.torchrun import TORCHRUN_PORT
from launcher.errors import UserError
from launcher.machine.probe import check_programs, probe
from launcher.machine.provenance import provenance
from launcher.numbers import plural
from launcher.options.comments import Asked
from launcher.plan.build import make_plan
from launcher.plan.nodes import node_count, nodes_at
from launcher.plan.spec import Machine, Plan
from launcher.rundir import RunDir
from launcher.runs.directory import PRIVATE, check_free, point_latest_at, prepare, remove_run
from launcher.runs.registry import call_name, register
from launcher.runs.state import RunState, SlurmState, first_state
from launcher.runs.state_file import StateFile
from launcher.slurm import client as slurm
from launcher.slurm.script import sbatch_script


def submit(
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
    config = _with_channels_of_the_environment(config)
    machine = _node(config, earlier, asked)
    plan = make_plan(config, machine, run, name)
    if not config.slurm.setup:
        check_programs(plan, os.environ)
    script = sbatch_script(config, machine, run, name, slurm.comment_of(run))
    if dry_run:
        if earlier is None:
            check_free(run, clean)
        sys.stdout.write(script)
        return 0
    _check_secrets(plan)
    slurm.check_installed()
    job = _queue(plan, config, script, clean, earlier, trust)
    if config.output_dir is None and earlier is None:
        point_latest_at(run)
    register(run.root, name)
    print(_submitted(plan, job, node_count(config)), end="")
    return 0


def _node(config: Config, earlier: RunState | None, asked: Asked | None) -> Machine:
    """A node of the job, as far as it is known: this machine's programs and the requested GPUs."""
    nodes = nodes_at(config, 0, "node-0", TORCHRUN_PORT) if node_count(config) > 1 else None
    machine = probe(_on_any_port(config), earlier.run_id if earlier else None, nodes, asked)
    return replace(machine, gpus=tuple(str(index) for index in range(config.slurm.gpus)))


def _on_any_port(config: Config) -> Config:
    """Without the port: it must be free on the job's node, not here."""
    if not isinstance(config, RLConfig):
        return config
    return config.model_copy(update={"inference": config.inference.model_copy(update={"port": 0})})


def _with_channels_of_the_environment(config: Config) -> Config:
    """Without the URLs of notifications, which are secrets: the job has them from variables that sbatch passes on."""
    given = {"webhook": WEBHOOK, "apprise": APPRISE} if config.notify.enabled else {}
    for name, variable in given.items():
        if getattr(config.notify, name) is not None and not os.environ.get(variable):
            what = f"--notify.{name} cannot reach the job: secrets are not written to a run's files"
            raise UserError(what, f"export {variable}=... instead; sbatch passes it on")
    notify = config.notify.model_copy(update=dict.fromkeys(given))
    return config.model_copy(update={"notify": notify})


def _check_secrets(plan: Plan) -> None:
    text = next(text for path, text in plan.files if path == plan.run.config)
    if f'"{MASK}"' in text:
        raise UserError(
            "a secret in `env` cannot reach the job: secrets are not written to a run's files",
            "export it before you type launch (sbatch passes it on), or name a file with env_file",
        )


def _queue(plan: Plan, config: Config, script: str, clean: bool, earlier: RunState | None, trust: bool) -> SlurmState:
    """Write all files of the run, then submit the job. If sbatch refuses, a new run's files are removed.

    An earlier run stays and can be resumed.
    """
    lock = prepare(plan, clean, resume=earlier is not None, trust=trust)
    try:
        state = StateFile(plan.run, first_state(plan, provenance(), earlier))
        write_atomically(plan.run.job_script, script, PRIVATE)
        state.state.state, state.state.tmux_socket = "queued", config.tmux.socket_name
        state.state.slurm = SlurmState(job="")  # a job that starts before its id is written waits for it
        state.write()
        job, cluster = slurm.submit(str(plan.run.job_script))
    except BaseException:
        _undo(plan.run, earlier)
        raise
    finally:
        os.close(lock)
    state.state.slurm = SlurmState(job=job, cluster=cluster)
    state.write()
    return state.state.slurm


def _undo(run: RunDir, earlier: RunState | None) -> None:
    with suppress(OSError):
        if earlier:
            StateFile(run, earlier).write()
        else:
            remove_run(run)


def _submitted(plan: Plan, job: SlurmState, nodes: int) -> str:
    typed = call_name(plan.run.root, plan.name)
    where = plural(nodes, "node") + (f" of {job.cluster}" if job.cluster else "")
    lines = [f"{plan.kind} run {plan.name}: submitted as job {job.job}, {where}", f"  directory    {plan.run.root}"]
    lines += [f"  note         {note}" for note in plan.notes]
    commands = [f"status {typed}", f"logs {typed} -f", f"attach {typed}", f"stop {typed}"]
    lines += [f"  {'next' if command == commands[0] else '':<10} launch {command}" for command in commands]
    return in_lines(lines) + "\n"
