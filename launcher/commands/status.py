"""`launch status`."""

import json
import sys
from dataclasses import asdict, replace
from typing import Annotated

import typer

from launcher.commands.common import NAMED, typer_command
from launcher.errors import UserError
from launcher.runs.choice import find_run
from launcher.timeline import read_timeline
from launcher.view.status.model import all_runs, run_details
from launcher.view.status.page import run_page
from launcher.view.status.table import runs_screen, unreadable_lines
from launcher.view.terminal import shows_colours
from launcher.view.timeline import timeline_json, timeline_page


def status(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help=f"{NAMED}; default: all below ./outputs")] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="also the runs elsewhere, each with its directory")] = False,
    timeline: Annotated[bool, typer.Option("--timeline", help="what the newest start took, phase by phase")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs, described in docs/status.md")] = False,
) -> int:
    """Show the runs of this project in a table, or one run in full. Checks that each run is really alive."""
    if timeline:
        return _timeline(run, everywhere, as_json)
    if run is None:
        return _status_of_all(everywhere, as_json)
    if everywhere:
        raise UserError(f"--all shows every run, and {run} is one of them", "give only one of the two")
    found, state = find_run(run, "status")
    details = run_details(found, state)
    if details.state == "running":
        from launcher.view.status.late import late_ranks  # takes long to import, and most runs have ended

        details = replace(details, late=late_ranks(found, state))
    print(json.dumps(asdict(details), indent=1) if as_json else run_page(state, details, shows_colours()))
    return 0


def _timeline(run: str | None, everywhere: bool, as_json: bool) -> int:
    if everywhere:
        raise UserError("--timeline shows the start of one run, --all every run", "give only one of the two")
    found, state = find_run(run, "status")
    start = read_timeline(found, state)
    print(json.dumps(timeline_json(start), indent=1) if as_json else timeline_page(state, start, shows_colours()))
    return 0


def _status_of_all(everywhere: bool, as_json: bool) -> int:
    runs = all_runs(everywhere)
    if not as_json:
        print(runs_screen(runs, everywhere))
        return 0
    print(json.dumps([asdict(each) for each in runs.shown], indent=1))
    for line in unreadable_lines(runs):
        print(line, file=sys.stderr)
    return 0


command = typer_command(status)
