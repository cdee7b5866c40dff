"""`launch status`."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from launcher.commands.common import NAMED, typer_command
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.runs.choice import find_run
from launcher.runs.state import RunState, open_run
from launcher.timeline import read_timeline
from launcher.view.status.model import RunDetails, all_runs, run_details
from launcher.view.status.page import run_page
from launcher.view.status.table import runs_screen, unreadable_lines
from launcher.view.status.watch import Page, watch
from launcher.view.terminal import is_dumb, shows_colours
from launcher.view.timeline import timeline_json, timeline_page

WATCHED = 100  # runs whose events are seen at once


def status(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help=f"{NAMED}; default: all below ./outputs")] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="also the runs elsewhere, each with its directory")] = False,
    follow: Annotated[bool, typer.Option("--watch", "-w", help="draw it again as it changes, until Ctrl-C")] = False,
    timeline: Annotated[bool, typer.Option("--timeline", help="what the newest start took, phase by phase")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs, described in docs/status.md")] = False,
) -> int:
    """Show the runs of this project in a table, or one run in full. Checks that each run is really alive."""
    if follow:
        _check_watch(timeline, as_json)
    if timeline:
        return _timeline(run, everywhere, as_json)
    if run is None:
        return _status_of_all(everywhere, as_json, follow)
    if everywhere:
        raise UserError(f"--all shows every run, and {run} is one of them", "give only one of the two")
    found, state = find_run(run, "status")
    if follow:
        watch(lambda: _page_of(*open_run(found.root)))
        return 0
    details = _details(found, state)
    print(json.dumps(asdict(details), indent=1) if as_json else run_page(state, details, shows_colours()))
    return 0


def _check_watch(timeline: bool, as_json: bool) -> None:
    """Raises UserError."""
    if timeline or as_json:
        raise UserError("--watch shows the status alone", f"leave out {'--timeline' if timeline else '--json'}")
    if not sys.stdout.isatty() or is_dumb():
        raise UserError("--watch needs a terminal that can be drawn on", "launch logs -f follows a run in a pipe")


def _details(run: RunDir, state: RunState) -> RunDetails:
    details = run_details(run, state)
    if details.state != "running":
        return details
    from launcher.view.status.late import late_ranks  # takes long to import, and most runs have ended

    return replace(details, late=late_ranks(run, state))


def _page_of(run: RunDir, state: RunState) -> Page:
    details = _details(run, state)
    told_by = (run.state, run.metrics(state.progress.component))
    return Page(run_page(state, details, shows_colours()), told_by, details.is_over)


def _table(everywhere: bool) -> Page:
    runs = all_runs(everywhere)
    alive = [RunDir(Path(each.directory)).state for each in runs.shown if not each.is_over]
    return Page(runs_screen(runs, everywhere), alive[:WATCHED], is_last=False)


def _timeline(run: str | None, everywhere: bool, as_json: bool) -> int:
    if everywhere:
        raise UserError("--timeline shows the start of one run, --all every run", "give only one of the two")
    found, state = find_run(run, "status")
    start = read_timeline(found, state)
    print(json.dumps(timeline_json(start), indent=1) if as_json else timeline_page(state, start, shows_colours()))
    return 0


def _status_of_all(everywhere: bool, as_json: bool, follow: bool) -> int:
    if follow:
        watch(lambda: _table(everywhere))
    runs = all_runs(everywhere)
    if not as_json:
        print(runs_screen(runs, everywhere))
        return 0
    print(json.dumps([asdict(each) for each in runs.shown], indent=1))
    for line in unreadable_lines(runs):
        print(line, file=sys.stderr)
    return 0


command = typer_command(status)
