"""`launch stacks`."""

import time
from typing import Annotated

import typer

from launcher.borders.screen import quoted
from launcher.commands.common import RunArgument, typer_command
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.runs.choice import find_run
from launcher.runs.liveness import of_this_host
from launcher.runs.state import RunState
from launcher.stacks.asking import ask_other_nodes
from launcher.stacks.collectives import collective_lines
from launcher.stacks.diagnosis import take_look
from launcher.stacks.frames import Stack
from launcher.stacks.looks import all_recordings, all_stacks, troubles
from launcher.stacks.ptrace import advice
from launcher.stacks.stacks import REFUSED, take_stacks
from launcher.stacks.text import stacks_text


def stacks(
    run: RunArgument = None,
    rank: Annotated[int | None, typer.Option(help="only this rank and its child processes")] = None,
    threads: Annotated[bool, typer.Option("--threads", help="also the other threads in full")] = False,
) -> int:
    """For a hang: show the stack of every Python process of a run, and the collective that a rank never enqueued.

    On several nodes, of all of them.
    """
    found, state = of_this_host(*find_run(run, "stacks"))
    looks = [] if rank is not None else [take_look(found, state), *ask_other_nodes(found, state, "all")]
    taken, missing = all_stacks(looks) if rank is None else _of_rank(found, state, rank), troubles(looks)
    told = [*collective_lines(all_recordings(looks), time.time()), *missing]
    print(stacks_text(taken, told, every_thread=threads), end="")
    refused = {stack.trouble for stack in taken if stack.trouble}
    if REFUSED in refused:
        print(f"\n{advice(f'stacks {quoted(str(found.root))}')}")
    return 1 if refused or missing else 0


def _of_rank(run: RunDir, state: RunState, rank: int) -> list[Stack]:
    """The stacks of one rank and its children. Other nodes are asked only if it is not on this one."""
    here = {each.rank for process in state.processes for each in process.ranks}
    if rank in here or state.nodes == 1:
        return take_stacks(run, state, rank)
    looks = ask_other_nodes(run, state, "all")
    found = [stack for stack in all_stacks(looks) if stack.process.rank == rank]
    if not found:
        raise UserError(f"--rank {rank}: {state.name} has no such rank", "; ".join(troubles(looks)) or None)
    return found


command = typer_command(stacks)
