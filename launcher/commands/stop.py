"""`launch stop`."""

from typing import Annotated

import typer

from launcher.borders.screen import in_one_line
from launcher.commands.common import OnlyRunArgument, TrustOption, seconds_of, typer_command
from launcher.jobs.jobs import ask_for, known_state, stop_job
from launcher.runs.choice import find_run
from launcher.runs.liveness import GOING_ON, of_this_host
from launcher.runs.stop import check_mine
from launcher.runs.stop import stop as stop_run
from launcher.runs.trust import check_trusted


def stop(
    run: OnlyRunArgument = None,
    grace: Annotated[str | None, typer.Option(help="how long it may take; default: the run's own grace")] = None,
    now: Annotated[bool, typer.Option("--now", help="kill at once, without asking first")] = False,
    trust: TrustOption = False,
) -> int:
    """Ask a run to end, and wait until its processes are gone. It is not an error if the run has already ended."""
    seconds = None if grace is None else seconds_of("--grace", grace)
    found, state = find_run(run, "stop")
    found, state = (found, state) if state.job else of_this_host(found, state)
    check_mine(found, state)
    check_trusted(found, state.name, "stop", trust)
    if known_state(found, state, ask_for([state])).word in GOING_ON:
        print(in_one_line(f"stopping {state.name} ..."), flush=True)
    after = stop_job(found, state, seconds, now) if state.job else stop_run(found, seconds, now)
    print(in_one_line(f"{state.name}: {known_state(found, after, ask_for([after])).word}, its processes have ended"))
    return 0


command = typer_command(stop)
