"""`launch config`: a resolved configuration, and where each value of it was set."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import typer
from typer.exceptions import TyperException

from launcher.borders.masking import masked
from launcher.commands.common import AsTyped, typer_command
from launcher.commands.starting.run_command import run_command
from launcher.config.run import KINDS, Kind, RunConfig
from launcher.config.toml import shown_values
from launcher.config.wandb import VARIABLES, WandbConfig, over_environment
from launcher.errors import UserError
from launcher.options.command import RunRequest
from launcher.options.comments import Keys, commands_in
from launcher.options.layer import Layer
from launcher.options.load import read_config_of_run
from launcher.options.origins import Origins
from launcher.options.schema import schema_of
from launcher.runs.choice import find_run
from launcher.view.config import config_text, only, origins_of

OWN = {
    "schema": "print the JSON schema of such a file, for editors",
    "set": "only what somebody has set, without the defaults",
}


def config(ctx: typer.Context) -> int:
    """The configuration of a run, or what a command line would give, as TOML with the origin of each value.

    launch config [RUN] [--set]

    launch config [rl|sft|train] [@ FILE]... [OPTIONS] [--set]

    launch config [rl|sft|train] --schema

    OPTIONS are those of launch rl, sft or train. An origin is an option, the line of a file, a variable of the
    environment, or the default. --set leaves out the defaults. --schema prints a JSON schema of the file, for editors.
    """
    words = list(ctx.args)
    own = list(takewhile(lambda word: word in [f"--{name}" for name in OWN], words))
    rest = words[len(own) :]
    if rest and rest[0] in KINDS:
        return _resolve(rest[0], [*own, *rest[1:]])
    if rest and rest[0][:1] not in ("-", "@"):
        return _of_run(rest[0], [*own, *rest[1:]])
    return _guess(words) if rest or "--schema" in own else _of_run(None, own)


def _of_run(name: str | None, words: Sequence[str]) -> int:
    run, state = find_run(name, "config")
    return _resolve(state.kind, words, read_config_of_run(run.config))


def _guess(words: Sequence[str]) -> int:
    """Without a kind, it is the first one that takes the files and options."""
    refusals: list[Exception] = []
    for kind in KINDS:
        try:
            return _resolve(kind, words)
        except (UserError, TyperException) as refusal:
            refusals.append(refusal)
    raise refusals[0]


def _resolve(kind: Kind, words: Sequence[str], of_run: Layer | None = None) -> int:
    def show(request: RunRequest[Any], schema: bool, set: bool) -> int:
        if schema:
            print(json.dumps(schema_of(KINDS[kind], kind), indent=1))
            return 0
        if of_run:
            request.layers.insert(0, of_run)
        layers, resolved = request.all_layers(), request.load()
        values = shown_values(resolved)
        found = origins_of(values, Origins(KINDS[kind], layers))
        if not of_run:
            found |= _from_environment(resolved, values, os.environ)
        commands = commands_in(of_run.text) if of_run else ()
        shown = masked(only(values, found) if set else values)
        sys.stdout.write(config_text(shown, found, commands or [f"launch {kind}"]))
        return 0

    command = run_command(kind, show, config.__doc__ or "", OWN, takes_program=kind != "rl" and of_run is None)
    return int(command.main(list(words), prog_name=f"launch config {kind}", standalone_mode=False))


def _from_environment(resolved: RunConfig, values: dict[str, Any], environ: Mapping[str, str]) -> dict[Keys, str]:
    """Put what W&B's variables set into `values`, where W&B is on. Returns the variables, by path."""
    wandb = values.get("wandb")
    if not isinstance(wandb, dict):
        return {}
    given = shown_values(over_environment(WandbConfig(), environ))
    named = {field: name for field, name in VARIABLES.items() if environ.get(name)}
    taken = named.keys() - resolved.wandb.model_fields_set
    wandb |= {field: given[field] for field in taken}
    return {("wandb", field): named[field] for field in taken}


command = typer_command(config, AsTyped, ignore_unknown_options=True, allow_extra_args=True)
