"""`launch stop`."""

from typing import Annotated

import typer

from launcher.borders.screen import in_lines, in_one_line
from launcher.commands.common import OnlyRunArgument, TrustOption, seconds_of, typer_command
from launcher.jobs.jobs import Stopped, ask_for, known_state, longest_stop, stop_job
from launcher.jobs.schedulers import scheduler_of
from launcher.numbers import duration
from launcher.runs.choice import find_run
from launcher.runs.liveness import GOING_ON, of_this_host
from launcher.runs.stop import check_mine
from launcher.runs.stop import stop as stop_run
from launcher.runs.trust import check_trusted

MOST_NAMED = 8  # nodes


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
        limit = f" (at most {duration(longest_stop(state, seconds))})" if state.job else ""
        print(in_one_line(f"stopping {state.name}{limit} ..."), flush=True)
    done = stop_job(found, state, seconds, now) if state.job else Stopped(stop_run(found, seconds, now))
    word = known_state(found, done.state, ask_for([done.state])).word
    print(in_lines(_ending(done, word)))
    return 0


def _ending(done: Stopped, word: str) -> list[str]:
    """What became of the run."""
    scheduler, job, name = scheduler_of(done.state), done.state.job, done.state.name
    if not done.silent or scheduler is None or job is None:
        return [f"{name}: {word}, its processes have ended"]
    nodes = ", ".join(done.silent[:MOST_NAMED]) + (" ..." if len(done.silent) > MOST_NAMED else "")
    its_name, look = scheduler.look_at(job)
    return [
        f"{name}: {word}, its processes have ended on all nodes that answer {scheduler.name}; no answer from {nodes}",
        f"  {scheduler.name} ends what may still run there, and keeps {its_name} until then; look at: {look}",
    ]


command = typer_command(stop)
