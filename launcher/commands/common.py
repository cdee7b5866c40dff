"""What several commands share: their arguments, and how a function becomes a command."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from launcher.borders.help_style import styled, tidied
from launcher.errors import UserError

TRUST = "act on a run's directory even if another user owns it or may write there"
NAMED = "a run's name, the beginning of it, or its directory"
RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help=f"{NAMED}; default: the newest live run below ./outputs, else the newest"),
]
OnlyRunArgument = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help=f"{NAMED}; default: the only live one below ./outputs")
]
"""For a command that changes the run."""

TrustOption = Annotated[bool, typer.Option("--trust", help=TRUST)]


class StyledCommand(TyperCommand):
    """Has its help in the colours of all commands."""

    def get_help(self, ctx: Any) -> str:
        return styled(tidied(super().get_help(ctx)))


class AsTyped(StyledCommand):
    """Leaves the whole command line in `ctx.args`, its `--` included."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        typed = list(args)
        super().parse_args(ctx, args)
        ctx.args = typed
        return typed


def seconds_of(option: str, text: str) -> float:
    """A duration that was typed. Raises UserError."""
    from launcher.config.base import parse_duration  # pydantic, which no help needs

    try:
        seconds = float(parse_duration(text))
    except ValueError as error:
        raise UserError(f"{option} {text}: {error}") from None
    if seconds < 0:
        raise UserError(f"{option} {text}: must not be negative")
    return seconds


def typer_command(function: Callable[..., int], kind: type[TyperCommand] = StyledCommand, **settings: Any) -> Any:
    """The command that calls the function with an option for each of its parameters."""
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    settings["help_option_names"] = ["--help", "-h"]
    single.command(cls=kind, context_settings=settings)(function)
    return typer.main.get_command(single)
