"""Configurations as if they had been typed, and plans made from them for a machine of a test's choice."""

import inspect
import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from typer.core import TyperCommand

from launcher.config.base import Section
from launcher.config.run import Config, RLConfig, SFTConfig, TrainConfig
from launcher.options.command import RunRequest, config_command
from launcher.plan.build import make_plan
from launcher.plan.rendezvous import plan_nodes
from launcher.plan.spec import Machine, Plan, ProcessSpec
from launcher.rundir import RunDir

S = TypeVar("S", bound=Section)

SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))"
"""A program that prints its arguments, environment and directory."""


def typed(model: type[S], *arguments: str, more: Iterable[inspect.Parameter] = ()) -> S:
    """The configuration that a command with these arguments would be called with."""
    command, loaded = _command(model, tuple(more))
    command.main(list(arguments), prog_name="test", standalone_mode=False)
    found: S = loaded.pop()
    return found


@cache
def _command(model: type[Section], more: tuple[inspect.Parameter, ...]) -> tuple[TyperCommand, list[Any]]:
    """The command, which takes longer to make than to call, and the list to which it adds what it has loaded."""
    loaded: list[Any] = []

    def keep(request: RunRequest[Any], **own: Any) -> int:
        loaded.append(request.load())
        return 0

    takes_program = model in (SFTConfig, TrainConfig)
    return config_command(model, keep, "", more, takes_program=takes_program), loaded


def rl(*arguments: str) -> RLConfig:
    return typed(RLConfig, *arguments)


def sft(*arguments: str) -> SFTConfig:
    return typed(SFTConfig, *arguments)


def train(*arguments: str) -> TrainConfig:
    return typed(TrainConfig, *arguments)


def machine(gpus: int = 0, **facts: Any) -> Machine:
    named = tuple(str(index) for index in range(gpus))
    return Machine(**{"python": "/venv/bin/python", "cwd": Path("/here"), "free_port": 4321, "gpus": named} | facts)


def plan_of(config: Config, on: Machine | None = None, root: Path = Path("/runs/otter"), attempt: int = 1) -> Plan:
    return make_plan(config, on or machine(), RunDir(root, attempt), "otter")


def plan_on_node(config: Config, hosts: tuple[str, ...] = (), root: Path = Path("/runs/otter"), **facts: Any) -> Plan:
    """The plan of the node that the configuration names; with `hosts`, as it is once all have met."""
    nodes = plan_nodes(config)
    if nodes and hosts:
        ports = tuple(8000 + node if nodes.runs("inference", node) else 0 for node in range(nodes.count))
        nodes = replace(nodes, hosts=hosts, inference_ports=ports)
    return make_plan(config, replace(machine(**facts), nodes=nodes), RunDir(root), "otter")


def component(plan: Plan, name: str) -> ProcessSpec:
    return next(spec for spec in plan.processes if spec.name == name)


def shower(*arguments: str) -> tuple[str, ...]:
    """The options that make the trainer, or a `--NAME.command` before each, a program that prints what it is given."""
    words = (sys.executable, "-c", SHOW, *arguments)
    return tuple(f"--trainer.command={word}" for word in words)


def shown(output: str) -> tuple[list[str], dict[str, str], str]:
    """What `shower`'s program has printed: arguments, environment, directory."""
    arguments, environment, directory = json.loads(output)
    return arguments, environment, directory


def write_metrics(plan: Plan, component: str, *steps: dict[str, object]) -> None:
    """What a component has logged, a line a step."""
    path = plan.run.metrics(component)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(step) + "\n" for step in steps))
