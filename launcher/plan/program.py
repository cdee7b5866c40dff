"""What a process needs before it can start: the Python code that its command line runs, and what is on the hub."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from launcher.config.component import ProcessConfig
from launcher.config.run import Config, SFTConfig, is_reference
from launcher.plan.spec import Machine, OnHub, ProcessSpec

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


def needed_of_hub(config: Config, machine: Machine, component: str, settings: ProcessConfig) -> Iterator[OnHub]:
    """What the reference workload reads from the Hugging Face hub: the model, unless it is a directory, and data."""
    if not is_reference(settings):
        return
    if component in ("trainer", "inference") and machine.model_path and not machine.model_path.startswith("/"):
        yield OnHub("model", machine.model_path)
    if component == "trainer" and isinstance(config, SFTConfig) and config.trainer.data.dataset is not None:
        data = config.trainer.data
        yield OnHub("dataset", json.dumps([data.dataset, data.subset, data.split]))
