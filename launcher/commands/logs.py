"""`launch logs`."""

from contextlib import suppress
from typing import Annotated

import typer

from launcher.commands.common import RunArgument, typer_command
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.runs.choice import find_run, is_called
from launcher.runs.state import RunState
from launcher.view.logs.follow import show_logs
from launcher.view.logs.pods import of_pods
from launcher.view.logs.request import LogRequest, components_of, select


def find_logs(run: str | None, component: str | None) -> tuple[tuple[RunDir, RunState], str | None]:
    """The run and the component. `launch logs trainer` means the trainer of the run that `launch logs` shows."""
    if run is not None and component is None and not is_called(run):
        with suppress(UserError):
            meant = find_run(None, "logs")
            if run in components_of(*meant):
                return meant, run
    return find_run(run, "logs"), component


def logs(
    run: RunArgument = None,
    component: Annotated[str | None, typer.Argument(metavar="COMPONENT", help="one, or launcher; default: all")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="show new lines too, until the run has ended")] = False,
    rank: Annotated[list[int] | None, typer.Option(help="this rank alone; may be repeated")] = None,
    level: Annotated[str | None, typer.Option(help="this level and above: debug, info, warn, error …")] = None,
    newest: Annotated[
        int | None, typer.Option("-n", "--lines", min=1, help="only the last N lines, and with -f the new ones")
    ] = None,
    attempt: Annotated[int | None, typer.Option(help="an earlier attempt; default: the newest")] = None,
    since: Annotated[str | None, typer.Option(help="from the last 10m, say, or since a time (14:30)")] = None,
    grep: Annotated[str | None, typer.Option(help="entries in which this regular expression is found")] = None,
    labels: Annotated[bool, typer.Option(help="put component and rank before each line")] = True,
    every_line: Annotated[
        bool, typer.Option("--every-line", help="also lines that several ranks have logged alike")
    ] = False,
    pager: Annotated[bool, typer.Option(help="on a terminal, show long output in $PAGER (less)")] = True,
) -> int:
    """The logs of all components and ranks, merged in time order; coloured on a terminal, plain in a pipe."""
    (found, state), component = find_logs(run, component)
    request = LogRequest(component, tuple(rank or ()), attempt, level, since, grep)
    with of_pods(found, state, request, follow) as pods:
        selection = pods or select(found, state, request)
        goes_on = pods.pods.go_on if pods else None
        show_logs(
            selection,
            follow=follow,
            labels=labels,
            every_line=every_line,
            newest=newest,
            pager=pager,
            goes_on=goes_on,
        )
    return 0


command = typer_command(logs)
