"""A Typer command that takes `@ FILE`, an option for each field of a model, and `-- ARGUMENTS`."""

import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import typer
from typer.core import TyperCommand

from launcher.borders.help_style import styled
from launcher.config.base import Section
from launcher.errors import UserError
from launcher.options.fields import config_fields
from launcher.options.flags import layer, signature
from launcher.options.help import Brief, brief_help, options_help, section_help
from launcher.options.layer import Layer, Values, without_another
from launcher.options.load import load, read_file
from launcher.options.meant import meant_by_argument
from launcher.options.program import Typed, check_no_dry_run, split_program
from launcher.options.services import take_services

S = TypeVar("S", bound=Section)

_GIVEN = f"{__name__}.given"


def split_arguments(arguments: Iterable[str], sections: frozenset[str]) -> Typed:
    """Take `@ FILE`, `--SECTION @ FILE` and `-- ARGUMENTS` out of a command line.

    Raises UserError for an `@` without a file, or after an option that is not a section.
    """
    typed, rest = Typed(), list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            typed.arguments = rest
            break
        if not word.startswith("@"):
            typed.options.append(word)
            continue
        file = word[1:] or (rest.pop(0) if rest else "")
        if not file:
            raise UserError("@ must be followed by a file, as in: @ configs/rl.toml")
        typed.files.append((_section_before(typed.options, sections), Path(file)))
    return typed


def _section_before(options: list[str], sections: frozenset[str]) -> str | None:
    name = options[-1].removeprefix("--").replace("_", "-") if options else ""
    if name not in sections or not options[-1].startswith("--"):
        return None
    options.pop()
    return name


def section_names(model: type[Section]) -> frozenset[str]:
    """The dotted names of all sections, in kebab-case."""
    paths = [found.path for found in config_fields(model)]
    dotted = {".".join(path[:end]) for path in paths for end in range(1, len(path))}
    return frozenset(name.replace("_", "-") for name in dotted)


class ConfigCommand(TyperCommand):
    """The command of one configuration model. `own` are its parameters that are no fields of the model."""

    model: type[Section]
    own: frozenset[str]
    takes_program: bool = False  # the trainer and its arguments may stand at the end of the command line
    brief: Brief | None = None  # without one, the help lists all options

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words, program = args, Typed()
        if self.takes_program:
            args, program = split_program(args, self.model)
        if help := self._asked_help(ctx, args):
            sys.stdout.write(styled(help))
            ctx.exit()
        typed = split_arguments(args, section_names(self.model))
        if program.program is not None:
            typed.program, typed.is_module, typed.arguments = program.program, program.is_module, program.arguments
        if "services" in self.model.model_fields:
            typed.options, typed.services = take_services(typed.options)
        ctx.obj = typed
        # Typer makes a pydantic adapter for every option it parses, 50 ms in all: give it only those that were typed.
        _, _, given = self.make_parser(ctx).parse_args(list(typed.options))
        ctx.meta[_GIVEN] = {parameter.name for parameter in given} | self.own
        stray = super().parse_args(ctx, typed.options)
        if "dry_run" in self.own and program.program is not None and not ctx.params.get("dry_run"):
            check_no_dry_run(words, program.program)  # not before: an unknown option's value may be that program
        # Of what is left out Typer would pass on the value of the call before.
        ctx.params = dict.fromkeys(each.name for each in self.params) | ctx.params
        if stray:
            raise UserError(f"unexpected argument: {stray[0]}", meant_by_argument(stray[0]))
        return stray

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, or, once a command line has been read, those that it names."""
        parameters = super().get_params(ctx)
        given = ctx.meta.get(_GIVEN)
        return parameters if given is None else [each for each in parameters if each.name in given]

    def _asked_help(self, ctx: Any, args: list[str]) -> str | None:
        """The help that the command line asks for: `--help`, `--help SECTION`, `--help=SECTION` or `--help-all`."""
        for word, following in zip(args, [*args[1:], ""], strict=False):
            if word == "--":
                return None
            if word in ("--help-all", "--help_all"):
                return self._head(ctx) + options_help(self.model, self._own_parameters())
            name, equals, value = word.partition("=")
            if name in ("--help", "-h"):
                section = value if equals else following if following[:1] not in ("", "-", "@") else None
                return section_help(self.model, section) if section else self.get_help(ctx) + "\n"
        return None

    def _head(self, ctx: Any) -> str:
        program = "[SCRIPT | -m MODULE] [ARGUMENTS]" if self.takes_program else "[-- ARGUMENTS]"
        usage = f"Usage: {ctx.command_path} [@ FILE]... [OPTIONS] {program}"
        return f"{usage}\n\n{inspect.cleandoc(self.help or '')}\n"

    def _own_parameters(self) -> list[Any]:
        return [each for each in self.params if each.name in self.own]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        more = self._own_parameters()
        short = self.brief and brief_help(self.brief, self.model, ctx.command_path, more)
        formatter.write(self._head(ctx) + (short or options_help(self.model, more)))


class RunRequest(Generic[S]):
    """A command line as layers of configuration, not yet validated. The files come first."""

    def __init__(self, model: type[S], typed: Typed, options: dict[str, Any]) -> None:
        self.model = model
        files = [read_file(file, section) for section, file in typed.files]
        self.layers = files if typed.program is None else [*without_another(files, _literal(typed.program))]
        self.layers.append(Layer(_with_program(layer(model, options), typed)))
        self._arguments = [_literal(word) for word in typed.arguments]
        self.added_to: Literal["args", "resume_args"] = "args"  # the trainer's field that what follows -- is added to

    def _trainer_arguments(self) -> list[Any]:
        """What the layers say of that field."""
        spellings = (self.added_to, self.added_to.replace("_", "-"))
        for one in reversed(self.layers):
            trainer = one.values.get("trainer")
            if isinstance(trainer, dict) and isinstance(found := _first(trainer, spellings), list):
                return list(found)
        return []

    def load(self) -> S:
        """The configuration. Raises UserError."""
        return load(self.model, self.all_layers())

    def all_layers(self) -> list[Layer]:
        """The layers, with what follows `--` as the last one."""
        if not self._arguments:
            return self.layers
        return [*self.layers, Layer({"trainer": {self.added_to: [*self._trainer_arguments(), *self._arguments]}})]


def _with_program(values: Values, typed: Typed) -> Values:
    """The layer's values, with the services and the program that were typed."""
    values = values | ({"services": typed.services} if typed.services else {})
    if typed.program is None:
        return values
    trainer = values.get("trainer", {})
    field = "module" if typed.is_module else "script"
    if field in trainer:
        raise UserError(f"two programs are named: {trainer[field]} and {typed.program}", "name one of them")
    return values | {"trainer": trainer | {field: _literal(typed.program)}}


def _first(table: dict[str, Any], names: Iterable[str]) -> Any:
    return next((table[name] for name in names if name in table), None)


def _literal(word: str) -> str:
    """Double the braces of a word, so that no {name} in it is replaced, here or in a resume from config.toml."""
    return word.replace("{", "{{").replace("}", "}}")


def config_command(
    model: type[S],
    run: Callable[..., int],
    help: str,
    more: Iterable[inspect.Parameter] = (),
    brief: Brief | None = None,
    takes_program: bool = False,
) -> TyperCommand:
    """A command that calls `run(request, **more)` with what was typed; `more` are no fields of the model."""
    more = tuple(more)

    def call(ctx: typer.Context, **options: Any) -> int:
        own = {parameter.name: options.pop(parameter.name) for parameter in more}
        return run(RunRequest(model, ctx.obj, options), **own)

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    call.__signature__ = signature(model, context, *more)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in call.__signature__.parameters.values()}  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    settings = {
        "token_normalize_func": lambda name: name.replace("_", "-"),
        "help_option_names": ["--help", "-h"],
        "allow_extra_args": True,  # parse_args has a better message for them
    }
    app.command(cls=ConfigCommand, help=help, context_settings=settings)(call)
    command = typer.main.get_command(app)
    assert isinstance(command, ConfigCommand)
    command.model = model
    command.brief, command.takes_program = brief, takes_program
    command.own = frozenset(parameter.name for parameter in more)
    return command
