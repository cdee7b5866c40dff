"""The fields of a configuration model as dotted paths. Options, docs and messages are made from them."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from launcher.config.base import Directory, Duration, ProgramPath, Section, Switch
from launcher.config.torchrun import Ranks


class Form(Enum):
    """How a field is written on the command line."""

    FLAG = "--x / --no-x"
    VALUE = "--x VALUE"
    MANY = "--x VALUE, repeatable"
    PAIRS = "--x KEY=VALUE, repeatable"


@dataclass(frozen=True)
class ConfigField:
    """One value that a user may set.

    `path` is the key in TOML. The switch of a section has the path wandb.enabled and the option --wandb.
    """

    path: tuple[str, ...]
    shape: Form
    metavar: str
    default: Any
    help: str

    @property
    def option(self) -> str:
        """The dotted option without its dashes, in kebab-case."""
        words = self.path[:-1] if self.path[-1] == "enabled" else self.path
        return ".".join(words).replace("_", "-")

    @property
    def inherited(self) -> bool:
        """Whether the default comes from the run's own section, as `trainer.wandb.project` from `wandb.project`."""
        return len(self.path) > 2 and self.path[1] == "wandb"


@cache
def config_fields(model: type[Section]) -> tuple[ConfigField, ...]:
    """Every field of `model` and of its sections, in the order of their definition.

    Tables with free names (`services`) are left out: they have no fixed path.
    """
    return tuple(_fields(model, ()))


def _fields(model: type[Section], prefix: tuple[str, ...]) -> Iterator[ConfigField]:
    for name, info in model.model_fields.items():
        path = (*prefix, info.alias or name)
        section = section_type(info)
        if section is not None:
            yield from _fields(section, path)
        elif name == "enabled" and issubclass(model, Switch) and not prefix:
            continue
        elif (shape := _shape(info.annotation)) is not None:
            yield ConfigField(path, shape, _metavar(info), _default(info), info.description or "")


def _default(info: FieldInfo) -> Any:
    return None if info.is_required() else info.get_default()


def free_fields(model: type[Section]) -> tuple[ConfigField, ...]:
    """The fields of the tables with free names, below the name NAME: services.NAME.command."""
    found: list[ConfigField] = []
    for name, info in model.model_fields.items():
        kinds = get_args(info.annotation)
        if get_origin(info.annotation) is dict and isinstance(kinds[1], type) and issubclass(kinds[1], Section):
            found += _fields(kinds[1], (name, "NAME"))
    return tuple(found)


def section_type(info: FieldInfo) -> type[Section] | None:
    """The section that the field holds, if it holds one."""
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _shape(annotation: Any) -> Form | None:
    kind = _without_none(annotation)
    if kind is bool:
        return Form.FLAG
    if get_origin(kind) is tuple:
        return Form.MANY
    if get_origin(kind) is dict:
        values = get_args(kind)[1]
        return None if isinstance(values, type) and issubclass(values, Section) else Form.PAIRS
    return Form.VALUE


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


_METAVARS = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT"}


def _metavar(info: FieldInfo) -> str:
    kind = _without_none(info.annotation)
    marked = Annotated[kind, *info.metadata] if info.metadata else kind
    if get_origin(kind) is Literal:
        return "|".join(str(value) for value in get_args(kind))
    if _carries(marked, Duration):
        return "DURATION"
    if _carries(marked, Directory) or _carries(marked, ProgramPath):
        return "PATH"
    if _carries(marked, Ranks):
        return "RANK[,RANK]"
    if get_origin(kind) is dict:
        return "KEY=VALUE"
    return _METAVARS.get(getattr(kind, "__origin__", kind), "TEXT")


def _carries(kind: Any, marker: Any) -> bool:
    metadata = getattr(kind, "__metadata__", ())
    return any(part in metadata for part in marker.__metadata__)
