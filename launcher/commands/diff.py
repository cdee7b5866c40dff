"""`launch diff`."""

import shutil
from typing import Annotated

import typer

from launcher.commands.common import NAMED, typer_command
from launcher.config.run import KINDS
from launcher.config.toml import to_values
from launcher.errors import UserError
from launcher.options.load import load, read_config_of_run
from launcher.options.origins import flat
from launcher.runs.choice import find_run
from launcher.view.status.diff import Side, diff_text
from launcher.view.terminal import shows_colours


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help=NAMED)],
    second: Annotated[str, typer.Argument(metavar="B", help="the same, of another run")],
    every: Annotated[bool, typer.Option("--all", help="all metrics, not only the main ones")] = False,
) -> int:
    """What two runs differ in (command line, commit, versions, configuration), and their last metrics with curves."""
    left, right = _side(first), _side(second)
    if left.run.root == right.run.root:
        raise UserError(f"{first} and {second} are the same run", "name two of them: launch status lists them")
    print(diff_text(left, right, shutil.get_terminal_size().columns, every, shows_colours()), end="")
    return 0


def _side(name: str) -> Side:
    run, state = find_run(name, "diff")
    layer = read_config_of_run(run.config)
    try:
        values = to_values(load(KINDS[state.kind], [layer]))
    except UserError:  # of another version of launch: compared as it is written
        values = layer.values
    return Side(run, state, flat(values))


command = typer_command(diff)
