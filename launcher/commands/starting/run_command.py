"""The commands that start an attempt. They have one option per field of the configuration, and a few of their own."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from launcher.commands.common import TRUST
from launcher.config.run import KINDS, Config, Kind
from launcher.options.command import RunRequest, config_command
from launcher.options.help import Brief

RUN_OPTIONS = {
    "dry_run": "print the complete plan and start nothing",
    "detach": "start, leave it running without a terminal, give the prompt back",
    "clean": "replace the run that the output directory holds",
    "trust": TRUST,
}

_EXAMPLES = {
    "rl": {
        "launch rl --nproc 8 --wandb": "eight ranks, W&B on",
        "launch rl @ configs/rl_cpu.toml": "from a file; options override it",
        "launch rl --name exp-3 --detach": "no terminal; later: launch attach exp-3",
        "launch rl --dry-run": "print the commands, start nothing",
        "launch rl --trainer.script train.py": "your own trainer, its arguments after --",
    },
    "sft": {
        "launch sft --nproc 8 --wandb": "eight ranks, W&B on",
        "launch sft @ configs/sft_cpu.toml": "from a file; options override it",
        "launch sft --name exp-3 --detach": "no terminal; later: launch attach exp-3",
        "launch sft --model NAME --data FILE": "your model on your texts",
        "launch sft train.py --lr 1e-4": "your own trainer; see launch train",
    },
    "train": {
        "launch train train.py --lr 1e-4": "what follows the script is its own",
        "launch train --nproc 8 -m pkg.train": "a module, on eight ranks",
        "launch train --no-python ./run.sh": "a program that is not Python",
        "launch train --detach train.py": "no terminal; later: launch attach",
        "launch train --dry-run train.py": "print the commands, start nothing",
    },
}

_OFTEN = {
    "name NAME": "the run's name; default: random",
    "output-dir DIR": "its directory; default: outputs/<name>",
    "nproc N": "ranks; default: one for each free GPU",
    "filter-rank R[,R]": "ranks on the console; default: 0",
    "model NAME": "what is trained",
    "task NAME": "what it is trained on",
    "data FILE": "JSONL or Parquet to learn from instead",
    "max-steps N": "updates of the model",
    "trainer.optimizer.lr X": "learning rate",
    "trainer.script FILE": "your own trainer, under torchrun",
    "no-python": "the script is a program, such as ./run.sh",
    "trainer.resume-args WORD": "argument added on a resume",
    "trainer.python PATH": "its Python, or virtual environment",
    "trainer.env KEY=VALUE": "its environment",
    "trainer.checkpoint.interval N": "steps between checkpoints",
    "inference.gpus N": "GPUs of the inference server",
    "wandb": "log to W&B",
    "wandb.project NAME": "W&B project",
    "log.level LEVEL": "DEBUG, INFO, WARNING …",
    "max-restarts N": "new attempts after a failure",
    "watchdog 10m": "fail when nothing happens for this long",
    "nnodes N": "on N nodes; see --help trainer.torchrun",
    "slurm": "submit it to Slurm",
    "k8s": "submit it to Kubernetes",
    "no-tmux": "no panes",
    "detach": "leave it running without a terminal",
    "clean": "replace the run in the output directory",
    "dry-run": "print the plan, start nothing",
}
"""What people type, for the help of one screen."""


_OF_WORKLOAD = frozenset({"trainer.script FILE", "trainer.checkpoint.interval N"})
_OF_PROGRAM = frozenset({"no-python", "trainer.resume-args WORD", "trainer.python PATH", "trainer.env KEY=VALUE"})


def run_command(
    kind: Kind, run: Callable[..., int], help: str, flags: Mapping[str, str], takes_program: bool = False
) -> Any:
    """A command with an option for each field of the kind's configuration, and `flags`, each with its help.

    `takes_program`: its first argument is the trainer, and everything after that the trainer's own.
    """
    more = [_flag(name, text) for name, text in flags.items()]
    hidden = _OF_WORKLOAD if kind == "train" else _OF_PROGRAM
    often = {words: text for words, text in _OFTEN.items() if words not in hidden}
    return config_command(KINDS[kind], run, help, more, Brief(_EXAMPLES[kind], often), takes_program)


def _flag(name: str, help: str) -> inspect.Parameter:
    option = typer.Option(f"--{name.replace('_', '-')}", help=help)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option])


def start_run(request: RunRequest[Config], dry_run: bool, clean: bool, detach: bool, trust: bool) -> int:
    """`launch rl`, `launch sft` and `launch train`."""
    from launcher.commands.starting.start import start  # the help must be fast, and does not need it

    return start(request, dry_run, clean, detach, trust)
