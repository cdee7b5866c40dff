"""`launch stacks`."""

import time
from typing import Annotated

import typer

from launcher.borders.screen import quoted
from launcher.commands.common import RunArgument, typer_command
from launcher.runs.choice import find_run
from launcher.runs.liveness import of_this_host
from launcher.stacks.collectives import collective_lines
from launcher.stacks.ptrace import advice
from launcher.stacks.recorders import read_recorders
from launcher.stacks.stacks import REFUSED, take_stacks
from launcher.stacks.text import stacks_text


def stacks(
    run: RunArgument = None,
    rank: Annotated[int | None, typer.Option(help="only this rank and its child processes")] = None,
    threads: Annotated[bool, typer.Option("--threads", help="also the other threads in full")] = False,
) -> int:
    """For a hang: show the stack of every Python process of a run, and the collective that a rank never enqueued."""
    found, state = of_this_host(*find_run(run, "stacks"))
    taken = take_stacks(found, state, rank)
    collectives = collective_lines(read_recorders(found, state), time.time()) if rank is None else []
    print(stacks_text(taken, collectives, every_thread=threads), end="")
    troubles = {stack.trouble for stack in taken if stack.trouble}
    if REFUSED in troubles:
        print(f"\n{advice(f'stacks {quoted(str(found.root))}')}")
    return 1 if troubles else 0


command = typer_command(stacks)
