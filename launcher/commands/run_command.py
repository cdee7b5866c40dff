"""The commands that start an attempt. They have one option per field of the configuration, and a few of their own."""

import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer

from launcher.commands.common import TRUST
from launcher.config.run import RLConfig, SFTConfig
from launcher.options.command import RunRequest, config_command

RUN_OPTIONS = {
    "dry_run": "print the complete plan and start nothing",
    "detach": "start, leave it running without a terminal, give the prompt back",
    "clean": "replace the run that the output directory holds",
    "trust": TRUST,
}


def run_command(kind: str, run: Callable[..., int], help: str, options: Iterable[str]) -> Any:
    """A command with an option for each field of the kind's configuration, and some of RUN_OPTIONS."""
    more = [_flag(name, RUN_OPTIONS[name]) for name in options]
    model: type[RLConfig] | type[SFTConfig] = RLConfig if kind == "rl" else SFTConfig
    return config_command(model, run, help, more)


def _flag(name: str, help: str) -> inspect.Parameter:
    option = typer.Option(f"--{name.replace('_', '-')}", help=help)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option])


def start_run(
    request: RunRequest[RLConfig] | RunRequest[SFTConfig], dry_run: bool, clean: bool, detach: bool, trust: bool
) -> int:
    """`launch rl` and `launch sft`."""
    from launcher.commands.start import start  # the help must be fast, and does not need it

    return start(request, dry_run, clean, detach, trust)
