"""The options and arguments of all commands, for completion. Loads every command, which takes half a second."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from typer.core import TyperArgument

from launcher.config.component import ServiceConfig
from launcher.options.command import ConfigCommand
from launcher.options.fields import Form, config_fields
from launcher.options.flags import negatives, option_names

STARTING = ("rl", "sft", "train", "resume")
_HELP = {"--help": ("show the help", "")}
_RUN = {"run", "first", "second", "name"}


def make_table(commands: Mapping[str, str]) -> dict[str, Any]:
    """For each command: its arguments, and its options with their help and what they take."""
    table = {}
    for name in commands:
        folder = "launcher.commands.starting" if name in STARTING else "launcher.commands"
        table[name] = _entry(import_module(f"{folder}.{name}").command)
    for name in ("resume", "config"):  # theirs depend on the run
        if name in table:
            options = {**table["rl"]["options"], **table[name]["options"]}
            table[name] = {**table["rl"], "arguments": ["run"], "options": options}
    return table


def _entry(command: Any) -> dict[str, Any]:
    of_config = command.model if isinstance(command, ConfigCommand) else None
    own = [each for each in command.params if of_config is None or each.name in command.own]
    options = dict(_HELP)
    for parameter in own:
        if not isinstance(parameter, TyperArgument):
            takes = "" if parameter.is_flag else (parameter.metavar or "TEXT").upper()
            names = [*parameter.opts, *parameter.secondary_opts]
            options |= {name: (parameter.help or "", takes) for name in names if name.startswith("--")}
    for field in config_fields(of_config) if of_config else ():
        names = option_names(field)
        takes = "" if field.shape is Form.FLAG else field.metavar
        options |= {f"--{name}": (field.help, takes) for name in names}
        if field.shape is Form.FLAG:
            options |= {f"--{name}": (field.help, "") for name in negatives(names)}
    options |= {"--help-all": ("show every option", "")} if of_config else {}
    arguments = [_kind(each) for each in own if isinstance(each, TyperArgument)]
    arguments += ["program"] if of_config and command.takes_program else []
    has_services = of_config is not None and "services" in of_config.model_fields
    return {"arguments": arguments, "options": options} | ({"services": _fields_of_services()} if has_services else {})


def _fields_of_services() -> dict[str, tuple[str, str]]:
    fields = config_fields(ServiceConfig)
    return {field.option: (field.help, "" if field.shape is Form.FLAG else field.metavar) for field in fields}


def _kind(argument: Any) -> str:
    """ "run", "run..." for several, "component"."""
    if argument.nargs == -1:
        return "run..."
    if "COMPONENT" in (argument.metavar or "").upper():
        return "component"
    return "run" if argument.name in _RUN else str(argument.name)
