"""`launch top`."""

import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from launcher.commands.common import NAMED, typer_command
from launcher.errors import UserError
from launcher.runs.choice import find_run
from launcher.view.terminal import is_dumb


def top(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help=f"{NAMED}: open it at once")] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="also the runs elsewhere")] = False,
) -> int:
    """All runs full-screen; inside one its components, ranks, curve, logs, stacks. `?` shows the keys."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or is_dumb():
        raise UserError("launch top needs a terminal that can be drawn on", "launch status prints the same once")
    if find_spec("textual") is None:
        raise UserError("launch top needs the package textual", "install it with: pip install 'launch-rl[top]'")
    opened = find_run(run, "top")[0].root if run is not None else None
    from launcher.view.top.app import TopApp  # textual, which is an extra

    app = TopApp(opened, everywhere)
    app.run()
    return app.return_code or 0


command = typer_command(top)
