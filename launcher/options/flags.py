"""Typer options for a configuration model, and the typed options as a layer of configuration."""

import inspect
import re
import shlex
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Annotated, Any

import typer

from launcher.config.base import Section
from launcher.errors import UserError
from launcher.options.fields import ConfigField, Form, config_fields

SHORT = {
    "task.name": ("task",),
    "trainer.model.name": ("model",),
    "trainer.data.path": ("data",),
    "trainer.nproc": ("nproc", "nproc-per-node"),
    "trainer.torchrun.nnodes": ("nnodes", "trainer.nodes"),
    "trainer.torchrun.node-rank": ("node-rank",),
    "trainer.torchrun.rdzv-endpoint": ("rdzv-endpoint",),
    "trainer.torchrun.rdzv-backend": ("rdzv-backend",),
    "trainer.torchrun.rdzv-id": ("rdzv-id",),
    "trainer.torchrun.master-addr": ("master-addr",),
    "trainer.torchrun.master-port": ("master-port",),
    "trainer.torchrun.standalone": ("standalone",),
    "trainer.torchrun.no-python": ("no-python",),
    "trainer.torchrun.run-path": ("run-path",),
    "trainer.torchrun.local-ranks-filter": ("filter-rank", "local-ranks-filter"),
    "trainer.torchrun.log-dir": ("log-dir",),
    "trainer.torchrun.redirects": ("redirects",),
    "trainer.torchrun.tee": ("tee",),
}
"""Shorter names for options that people type often."""

_OWN = frozenset({"max-restarts"})  # names of torchrun's flags that mean something of the run's own
_TORCHRUN = "trainer.torchrun."

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_OPERATOR = re.compile(r"\|\|?|&&?|.*;|\d?<(&\d)?|[\d&]?>(?!=).*")  # not <eos> and >=2, which may be a program's
_QUOTED = re.compile(r"""'[^']*'|"(\\.|[^"\\])*"|\\.""", re.DOTALL)
_TYPES = {Form.FLAG: bool | None, Form.VALUE: str | None, Form.MANY: list[str] | None, Form.PAIRS: list[str] | None}


def parameter_name(field: ConfigField) -> str:
    return "__".join(field.path).replace("-", "_")


def option_names(field: ConfigField) -> list[str]:
    """The field's option names, the shortest first."""
    return [*_short_names(field.option), field.option]


def _short_names(option: str) -> tuple[str, ...]:
    """The shorter names; torchrun's flags all have the name that torchrun gives them."""
    last = option.removeprefix(_TORCHRUN)
    return SHORT.get(option) or ((last,) if last != option and last not in _OWN else ())


def signature(model: type[Section], *more: inspect.Parameter) -> inspect.Signature:
    """The signature of a Typer command with an option for each field of `model`, and the parameters `more`.

    Every option's default is None, which means not set. Values stay text; the model converts them.
    """
    options = [_parameter(field) for field in config_fields(model)]
    return inspect.Signature([*more, *options])


def _parameter(field: ConfigField) -> inspect.Parameter:
    names = option_names(field)
    if field.shape is Form.FLAG:
        spellings = [f"--{name}/--{negative(name)}" for name in names]
    else:
        spellings = [f"--{name}" for name in names]
    option = typer.Option(*spellings, help=field.help, metavar=None if field.shape is Form.FLAG else field.metavar)
    return inspect.Parameter(
        parameter_name(field),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[_TYPES[field.shape], option],
    )


def negative(option: str) -> str:
    return f"no-{option}"


def negatives(names: Iterable[str]) -> list[str]:
    """The negatives that are shown. That of --no-python is not: --no-no-python is taken, but nobody looks for it."""
    return [negative(name) for name in names if not name.rpartition(".")[2].startswith("no-")]


def layer(model: type[Section], typed: Mapping[str, Any]) -> dict[str, Any]:
    """The typed values, nested as in a TOML file.

    Raises UserError for a KEY=VALUE option without "=".
    """
    values: dict[str, Any] = {}
    for field in config_fields(model):
        value = typed.get(parameter_name(field))
        if value is None or value == []:
            continue
        table = values
        for key in field.path[:-1]:
            table = table.setdefault(key, {})
        table[field.path[-1]] = _value(field, value)
    return values


def _value(field: ConfigField, typed: Any) -> Any:
    if field.shape is Form.PAIRS:
        return dict(pair(f"--{field.option}", text) for text in typed)
    if field.metavar == "RANK[,RANK]":
        return ",".join(typed)
    if field.path[-1] == "command" and len(typed) == 1:  # several times: a word each
        return command_words(f"--{field.option}", typed[0]) or typed
    return typed


def command_words(option: str, text: str) -> list[str]:
    """The text, split as a shell would. Raises UserError, also for what only a shell could carry out."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"{option} {text}: {error}", "quote it as for a shell") from None
    bare = _QUOTED.sub("q", text).split()  # the same words, without what is quoted in them
    if count := len(list(takewhile(_ASSIGNMENT.match, bare))):
        variables = (f"{option.removesuffix('command')}env {shlex.quote(word)}" for word in words[:count])
        raise UserError(
            f"{option} {text}: begins with a variable, and no shell reads it", f"type {' '.join(variables)}"
        )
    if operator := next((word for word, seen in zip(words, bare, strict=False) if _OPERATOR.fullmatch(seen)), None):
        hint = f"if it takes one: {option} {shlex.quote(f'sh -c {shlex.quote(text)}')}"
        raise UserError(f"{option} {text}: {operator} is for a shell, and none reads it", hint)
    return words


def pair(option: str, text: str) -> tuple[str, str]:
    """Key and value. Raises UserError."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"{option} {text}: not of the form KEY=VALUE")
    return key, value


def flag_of(path: Iterable[str | int]) -> str:
    """The option that sets the value at `path`."""
    words = [str(part) for part in path if not isinstance(part, int)]
    dotted = ".".join(words).removesuffix(".enabled").replace("_", "-")
    return f"--{(*_short_names(dotted), dotted)[0]}"
