"""Why a run has stalled: its stacks, its collectives, and what its components report that they wait for."""

import time
from collections.abc import Sequence

from launcher.borders.files import overwrite
from launcher.failure.failure import Diagnosis
from launcher.nodes.messages import LookAt
from launcher.rundir import RunDir
from launcher.runs.state import RunState
from launcher.runs.waits import read_waits, waits_text
from launcher.stacks.collectives import collective_lines, find
from launcher.stacks.groups import group_stacks, stragglers
from launcher.stacks.looks import Look, all_recordings, all_stacks, node_of, troubles
from launcher.stacks.recorders import read_recorders
from launcher.stacks.stacks import take_stacks
from launcher.stacks.text import stacks_text, verdict_lines


def take_look(run: RunDir, state: RunState, at: LookAt = "all") -> Look:
    """Inspect every process of the run on this node."""
    if at == "collectives":
        return Look(state.node, recordings=tuple(read_recorders(run, state, dumps=False)))
    stacks = tuple(take_stacks(run, state))
    return Look(state.node, stacks, tuple(read_recorders(run, state)), tuple(read_waits(run, state)))


def diagnose(run: RunDir, state: RunState, looks: Sequence[Look]) -> Diagnosis:
    """What looks at all nodes say together. All stacks are written to a file of this node."""
    waited = sorted((wait for look in looks for wait in look.waits), key=lambda wait: wait.since)
    waits, missing = waits_text(waited, time.time()), troubles(looks)
    stacks, recordings = all_stacks(looks), all_recordings(looks)
    collectives = collective_lines(recordings, time.time())
    lines = [*collectives, *verdict_lines(stacks), *([waits] if waits else []), *missing]
    text = "".join([stacks_text(stacks, collectives), *(f"\n{line}\n" for line in (waits, *missing) if line)])
    node, rank = _awaited(state, looks)
    file = run.watchdog_stacks
    try:
        overwrite(file, text.encode(errors="surrogateescape"))
    except OSError as error:
        lines.append(f"the stacks cannot be written: {error.strerror}")
        return Diagnosis(rank, tuple(lines), node=node)
    return Diagnosis(rank, tuple(lines), file, node)


def _awaited(state: RunState, looks: Sequence[Look]) -> tuple[int | None, int | None]:
    """The rank that all others wait for, if there is exactly one: by its collectives, else by its stack.

    A rank of this node is (None, local rank), one of another node is (node, global rank).
    """
    findings = find(all_recordings(looks))
    awaited = findings[0].culprits if findings else ()
    awaited = awaited or stragglers(group_stacks(all_stacks(looks)))
    if len(awaited) != 1:
        return None, None
    node = node_of(looks, awaited[0])
    if node != state.node:
        return node, awaited[0]
    first = min((rank.rank for process in state.processes for rank in process.ranks), default=0)
    return None, awaited[0] - first
