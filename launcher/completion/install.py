"""`launch --install-completion` and `--show-completion`: by Typer, for the shell that is running or was named."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from launcher.completion.answer import VARIABLE
from launcher.errors import UserError

SHELLS = ("bash", "zsh", "fish")


def completion(arguments: Sequence[str]) -> int:
    """Install the script, or print it. Raises UserError."""
    of_typer: Any = import_module("typer.completion")  # half of it is not declared as public
    what, *named = arguments
    shell = named[0] if named else of_typer._get_shell_name()
    if len(named) > 1 or shell not in SHELLS:
        found = f"{shell} is not supported" if shell else "the shell is unknown"
        raise UserError(f"{what}: {found}", f"name one: launch {what} {'|'.join(SHELLS)}")
    if what == "--show-completion":
        print(of_typer.get_completion_script(prog_name="launch", complete_var=VARIABLE, shell=shell))
        return 0
    try:
        shell, path = of_typer.install(shell=shell, prog_name="launch", complete_var=VARIABLE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = f'without a file: eval "$(launch --show-completion {shell})"'
        raise UserError(f"{what}: {getattr(error, 'filename', None) or '~'}: {reason}", hint) from None
    print(f"completion for {shell} is installed in {path}; it works in the next terminal")
    return 0
