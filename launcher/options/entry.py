"""The command line of a module of the workload: `python -m MODULE [@ FILE]… [OPTIONS]`, without `launch`."""

import sys
from typing import TypeVar

from typer.exceptions import TyperException

from launcher.borders.screen import printable
from launcher.config.base import Section
from launcher.errors import UserError
from launcher.options.command import RunRequest, config_command
from launcher.options.meant import usage_message

S = TypeVar("S", bound=Section)


def load_component(model: type[S], arguments: list[str]) -> S:
    """The configuration from `arguments`.

    Exits with 0 after --help, and with 2 and a message after a wrong request.
    """
    loaded: list[S] = []

    def keep(request: RunRequest[S]) -> int:
        loaded.append(request.load())
        return 0

    module = sys.modules["__main__"]
    spec = getattr(module, "__spec__", None)
    name = f"python -m {spec.name}" if spec else sys.argv[0]
    command = config_command(model, keep, module.__doc__ or "")
    try:
        command.main(arguments, prog_name=name, standalone_mode=False)
    except (UserError, TyperException) as error:
        message = usage_message(error) if isinstance(error, TyperException) else str(error)
        print(printable(f"{name}: {message}"), file=sys.stderr)
        sys.exit(2)
    if not loaded:
        sys.exit(0)
    return loaded[0]
