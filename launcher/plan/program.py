"""The programs of a run: their command lines, the Python code that these run, their models and data."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from launcher.config.component import ComponentConfig, ProcessConfig, TorchrunComponentConfig
from launcher.config.run import Config, SFTConfig, TrainConfig, is_reference
from launcher.config.workload import TINY
from launcher.plan.placeholders import expand
from launcher.plan.serving.addresses import Addresses, of_services
from launcher.plan.spec import Machine, OnHub, ProcessSpec
from launcher.rundir import RunDir

NO_PYTHON = "--no-python"  # torchrun's
_PLAIN = ("-u", "-B", "-O", "-OO")  # flags that do not change what Python finds


@dataclass(frozen=True)
class PythonCode:
    """A module or a script; exactly one of them is set."""

    module: str | None = None
    script: str | None = None


def ranks_program(spec: ProcessSpec) -> str | None:
    """The program that torchrun starts without Python."""
    settings = spec.argv[3:] if spec.ranks else ()
    if NO_PYTHON not in takewhile(lambda word: word.startswith("--"), settings):
        return None
    return next((word for word in settings if not word.startswith("--")), None)


def python_code(spec: ProcessSpec) -> PythonCode | None:
    """What `python -m MODULE …` or `python SCRIPT …` runs, below torchrun where there are ranks; else None."""
    if not re.fullmatch(r"python[\d.]*", Path(spec.argv[0]).name):
        return None
    words = list(spec.argv[1:])
    if spec.ranks:  # -m torch.distributed.run, then one word per setting
        words = words[2:]
        while words and words[0].startswith("--"):
            if words.pop(0) == NO_PYTHON:
                return None
        if words[:2] == ["-m", "--"]:  # torchrun's -m; what follows the dashes is the program's
            words.pop(1)
    while words and words[0] in _PLAIN:
        words.pop(0)
    if words[:1] == ["-m"]:
        return PythonCode(module=words[1]) if len(words) > 1 else None
    return PythonCode(script=words[0]) if words and not words[0].startswith("-") else None


def directory_to_load(machine: Machine, component: str, settings: ProcessConfig) -> Path | None:
    """The model's, if the reference workload loads it from one."""
    loads = is_reference(settings) and component in ("trainer", "inference")
    return Path(machine.model_path) if loads and machine.model_path.startswith("/") else None


def with_checkpoint(config: Config, model_path: str) -> Config:
    """The configuration, with the checkpoint at `model_path` in place of the run that it is the newest one of.

    That run may go on meanwhile, and a resume must start from the same weights: adapters and the KL divergence are
    relative to them.
    """
    path = Path(model_path)
    is_checkpoint = path.parent == RunDir(path.parent.parent).checkpoints
    names_a_run = is_checkpoint and Path(config.starting_model).name != path.name
    if not names_a_run or isinstance(config, TrainConfig):
        return config
    model = config.trainer.model.model_copy(update={"name": model_path})
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"model": model})})


def needed_of_hub(config: Config, model_path: str, component: str, settings: ProcessConfig) -> Iterator[OnHub]:
    """What the reference workload reads from the Hugging Face hub: the model, unless it is a directory, and data."""
    if not is_reference(settings):
        return
    if component in ("trainer", "inference") and model_path and not model_path.startswith("/"):
        yield OnHub("model", model_path)
    if component == "trainer" and isinstance(config, SFTConfig) and config.trainer.data.dataset is not None:
        data = config.trainer.data
        yield OnHub("dataset", json.dumps([data.dataset, data.subset, data.split]))


def file_to_learn(config: Config) -> Path | None:
    """The file of the reference trainer for SFT."""
    if not isinstance(config, SFTConfig) or not is_reference(config.trainer) or config.trainer.data.path is None:
        return None
    return config.trainer.data.path


@dataclass(frozen=True)
class Programs:
    """Makes the command lines of a run's components."""

    config: Config
    machine: Machine
    run: RunDir
    name: str
    nproc: int
    servers: Addresses | None  # of an RL run
    replicas: Mapping[str, Addresses]  # the servers of this node, by component

    def argv(self, name: str, component: ComponentConfig, reference: str) -> tuple[str, ...]:
        """The command line. Without `command` it starts with the interpreter.

        Only the user's words are expanded: braces in our own paths are no placeholders.
        """
        python, words = (self.python(name),), self.arguments(component)
        if component.is_reference:
            ours: tuple[str, ...] = (*python, "-m", reference, "@", str(self.run.component_config(name)))
        elif component.command is not None:
            ours, words = (), (*component.command, *words)
        else:
            ours, words = python, (*self._code(component), *words)
        return (*ours, *self.expand(name, words))

    def arguments(self, component: ProcessConfig) -> tuple[str, ...]:
        """What the user adds to the command line in this attempt."""
        return (*component.args, *(component.resume_args if self.run.attempt > 1 else ()))

    def _code(self, component: ComponentConfig) -> tuple[str, ...]:
        """The user's module or script, as Python takes it."""
        if component.module is not None:
            return ("-m", component.module)
        script = component.script or ""
        if isinstance(component, TorchrunComponentConfig) and component.torchrun.run_path:
            script = str(self.machine.cwd / (component.cwd or "") / script)  # torchrun wants an absolute path
        return (script,)

    def python(self, component: str) -> str:
        return self.machine.pythons.get(self.asked_as(component), self.machine.python)

    def asked_as(self, name: str) -> str:
        """A process's name in the configuration."""
        return "inference" if name in self.replicas else name

    def value(self, component: str, text: str) -> str:
        """The text of one setting, without its placeholders."""
        return self.expand(component, (text,))[0]

    def expand(self, component: str, words: tuple[str, ...]) -> tuple[str, ...]:
        """The user's words for a component, without their placeholders."""
        model, servers = self.config.starting_model, self.replicas.get(component, self.servers)
        values = {
            "attempt": str(self.run.attempt),
            "config": str(self.run.component_config(component)) if self.config.kind != "train" else None,
            "host": servers.host if servers else None,
            "inference_url": servers.urls if servers else None,
            "model": None if model == TINY else self.machine.model_path or model,
            "name": self.name,
            "nproc": str(self.nproc),
            "output_dir": str(self.run.root),
            "port": str(servers.port) if servers else None,
            "python": self.python(component),
            "run_id": self.machine.run_id,
            **of_services(self.config, self.machine),
        }
        return tuple(expand(self.asked_as(component), word, values) for word in words)
