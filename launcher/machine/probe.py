"""Collects all facts about this machine that the plan needs."""

import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import launcher
from launcher.borders.screen import quoted
from launcher.checkpoints import resolve_model
from launcher.config.run import Config, RLConfig, is_reference, started_processes
from launcher.config.serving import LOOPBACK
from launcher.config.wandb import WandbConfig, over_environment
from launcher.config.workload import TINY
from launcher.errors import UserError
from launcher.machine.chat_template import has_chat_template
from launcher.machine.env_file import read_env_file
from launcher.machine.gpus import gpu_count, gpu_memory
from launcher.machine.hub import without_hub
from launcher.machine.interpreters import check_torch, find_python, find_vllm
from launcher.machine.model_size import model_size
from launcher.machine.ports import check_port, free_ports, service_ports
from launcher.machine.programs import check_code
from launcher.machine.wandb_login import is_logged_in
from launcher.options.comments import Asked
from launcher.plan.environment import child_environment
from launcher.plan.nodes import Nodes
from launcher.plan.program import needed_of_hub, ranks_program
from launcher.plan.rendezvous import rendezvous_ports
from launcher.plan.serving.vllm import INSTALL, VLLM
from launcher.plan.spec import Machine, Plan, ProcessSpec


def probe(
    config: Config,
    run_id: str | None = None,
    nodes: Nodes | None = None,
    asked: Asked | None = None,
) -> Machine:
    """The machine as the plan sees it. `run_id` comes from an earlier attempt, `nodes` from a run on several nodes.

    Raises UserError for a port in use, and for a missing interpreter, env file or model.
    """
    processes = started_processes(config)
    ports, wandb = range(0), over_environment(WandbConfig(), os.environ)
    meeting = rendezvous_ports(config, nodes)
    if isinstance(config, RLConfig) and config.inference.enabled and (nodes is None or nodes.may_serve):
        host, replicas = config.inference.host or LOOPBACK, config.inference.replicas
        for taken in range(config.inference.port, config.inference.port + replicas) if config.inference.port else ():
            check_port(host, taken)
        ports = range(0) if config.inference.port else free_ports(host, replicas, meeting)
    server = config.inference if isinstance(config, RLConfig) and config.inference.enabled else None
    is_ours = is_reference(config.trainer) or (server is not None and is_reference(server))
    name = config.starting_model
    model_path = resolve_model(name) if is_ours and name != TINY else ""
    env_files = {name: read_env_file(name, own.env_file) for name, own in processes.items() if own.env_file}
    pythons = {name: find_python(name, own.python) for name, own in processes.items() if own.python}
    asked_first = [("trainer", config.trainer), *([("inference", server)] if server else [])]
    wanted = {one: None for each in asked_first for one in needed_of_hub(config, model_path, *each)}
    variables = {**os.environ, **env_files.get("trainer", {}), **config.trainer.env}
    # check_programs tells what cannot be had; here a model's small files are brought, for the plan
    cached = without_hub([*wanted], pythons.get("trainer", sys.executable), variables)
    return Machine(
        python=sys.executable,
        cwd=Path.cwd(),
        cpus=len(os.sched_getaffinity(0)),
        gpus=visible_gpus(os.environ),
        gpu_memory=gpu_memory() if model_path else 0,
        model_path=model_path,
        vllm=find_vllm(server.python) if server and is_reference(server) else None,
        vllm_access=Path(launcher.__file__).parent / "vllm_access",
        model=model_size(model_path) if model_path else None,
        without_hub=cached,
        chat_template=has_chat_template(model_path) if model_path else True,
        user=f"{os.geteuid()}:{os.getegid()}",
        variables=frozenset(os.environ),
        free_port=ports.start,
        service_ports=service_ports(config, nodes, besides={*ports, *meeting}),
        search_paths={name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        torchrun_logs=Path(launcher.__file__).parent / "torchrun_logs",
        pythons=pythons,
        env_files=env_files,
        run_id=run_id or secrets.token_hex(4),
        nodes=nodes,
        wandb=wandb,
        wandb_login=is_logged_in(config.wandb.over(wandb)),
        asked=asked or Asked(),
    )


def check_programs(plan: Plan, environment: Mapping[str, str]) -> None:
    """Raises UserError for a missing program, script, module or directory."""
    if plan.weights_dir is not None and not os.access(plan.weights_dir, os.W_OK | os.X_OK):
        raise UserError(f"--weights-dir {plan.weights_dir}: it cannot be written to", "name another directory")
    for spec in plan.processes:
        log_dir = spec.ranks.directory.parent if spec.ranks else plan.run.root
        if not log_dir.is_relative_to(plan.run.root) and not _can_be_made(log_dir):
            what = f"--log-dir {log_dir}: it cannot be created or written to"
            raise UserError(what, "name another directory, or leave it out: the run's directory has one")
        if not spec.cwd.is_dir():
            raise UserError(f"{spec.name}: its working directory {spec.cwd} does not exist")
        program = spec.argv[0]
        path = child_environment(spec, environment).get("PATH", os.defpath)
        if not shutil.which(_found_from(spec.cwd, program), path=path):
            hint = INSTALL if program == VLLM else None
            raise UserError(f"{spec.name}: the program {program} cannot be found", hint)
        if (of_ranks := ranks_program(spec)) and not shutil.which(_found_from(spec.cwd, of_ranks), path=path):
            raise _no_program(spec, of_ranks)
        if spec.ranks and program != sys.executable:
            check_torch(spec, child_environment(spec, environment))
        check_code(plan, spec, child_environment(spec, environment))


def _can_be_made(directory: Path) -> bool:
    """Whether the directory is there and can be written to, or the nearest one above it can."""
    there = next(each for each in (directory, *directory.parents) if os.path.lexists(each))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _no_program(spec: ProcessSpec, program: str) -> UserError:
    hint = None
    if (spec.cwd / program).exists():
        hint = f"chmod +x {quoted(program)}" if "/" in program else f"a file of this directory is ./{program}"
    return UserError(f"{spec.name}: --no-python: the program {program} cannot be found, or not executed", hint)


def _found_from(directory: Path, program: str) -> str:
    return program if "/" not in program else str(directory / program)


def visible_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The GPUs that a child could use, as CUDA_VISIBLE_DEVICES names them: indices, UUIDs or MIG names."""
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return tuple(str(index) for index in range(gpu_count()))
    names = []
    for name in (part.strip() for part in listed.split(",")):
        if name in ("", "-1", "NoDevFiles"):  # CUDA looks no further after an invalid one
            break
        names.append(name)
    return tuple(names)
