"""Why a run has stalled: its stacks, its collectives, and what its components report that they wait for."""

import time

from launcher.borders.files import overwrite
from launcher.failure.failure import Diagnosis
from launcher.rundir import RunDir
from launcher.runs.state import RunState
from launcher.runs.waits import read_waits, waits_text
from launcher.stacks.collectives import Recording, collective_lines, find
from launcher.stacks.frames import Stack
from launcher.stacks.groups import group_stacks, stragglers
from launcher.stacks.recorders import read_recorders
from launcher.stacks.stacks import take_stacks
from launcher.stacks.text import stacks_text, verdict_lines


def diagnose(run: RunDir, state: RunState) -> Diagnosis:
    """Inspect every process of the run on this node, and write all stacks to a file."""
    waits = waits_text(read_waits(run, state), time.time())
    recordings = read_recorders(run, state)
    stacks = take_stacks(run, state)
    collectives = collective_lines(recordings, time.time())
    lines = [*collectives, *verdict_lines(stacks), *([waits] if waits else [])]
    text = stacks_text(stacks, collectives) + (f"\n{waits}\n" if waits else "")
    file = run.watchdog_stacks
    try:
        overwrite(file, text.encode(errors="surrogateescape"))
    except OSError as error:
        lines.append(f"the stacks cannot be written: {error.strerror}")
        return Diagnosis(_awaited_rank(state, recordings, stacks), tuple(lines))
    return Diagnosis(_awaited_rank(state, recordings, stacks), tuple(lines), file)


def _awaited_rank(state: RunState, recordings: list[Recording], stacks: list[Stack]) -> int | None:
    """The local rank that all others wait for, if there is exactly one: by its collectives, else by its stack."""
    findings = find(recordings)
    awaited = findings[0].culprits if findings else ()
    awaited = awaited or stragglers(group_stacks(stacks))
    first = min((rank.rank for process in state.processes for rank in process.ranks), default=0)
    return awaited[0] - first if len(awaited) == 1 else None
