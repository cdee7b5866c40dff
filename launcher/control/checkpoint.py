"""A checkpoint now: a file in the run's directory that the reference trainer looks for after each step.

No socket and no signal: all ranks have to write at the same step, and node 0 may be another machine.
"""

import time
from pathlib import Path

from launcher.borders.files import overwrite
from launcher.checkpoints import newest_checkpoint
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.runs.liveness import true_state
from launcher.runs.registry import call_name
from launcher.runs.state import RunState, read_state

POLL = 0.1  # seconds between two looks


def checkpoint_now(run: RunDir, state: RunState) -> Path:
    """Have the trainer write a checkpoint, and wait for it. Returns its directory.

    Raises UserError when the run is not running, when its trainer knows nothing of this, or when the run ends first.
    """
    first, state = _of_first_node(run, state)
    _check(first, state)
    before = newest_checkpoint(first)
    try:
        overwrite(first.checkpoint_request, b"")
    except OSError as error:
        raise UserError(f"{first.checkpoint_request}: cannot be written: {error.strerror}") from None
    try:
        while first.checkpoint_request.exists() and _is_running(first, state):
            time.sleep(POLL)
    finally:
        first.checkpoint_request.unlink(missing_ok=True)
    newest = newest_checkpoint(first)
    if newest is None or (newest == before and not _is_running(first, state)):
        see = f"see: launch status {call_name(first.root, state.name)}"
        raise UserError(f"{state.name} has ended before it wrote a checkpoint", see)
    return first.checkpoint(newest)


def _of_first_node(run: RunDir, state: RunState) -> tuple[RunDir, RunState]:
    """Where global rank 0 looks."""
    if not state.node:
        return run, state
    first = run.on(0)
    found = read_state(first)
    if found is None or found.run_id != state.run_id:
        raise UserError(f"{run.root} is not the directory of node 0, where the trainer looks", "type this on node 0")
    return first, found


def _check(run: RunDir, state: RunState) -> None:
    if not state.own_checkpoints:
        raise UserError(f"the trainer of {state.name} is your own, which launch cannot ask for a checkpoint")
    if (now := true_state(run, state)) != "running":
        raise UserError(f"{state.name} is {now}: only a running run can write a checkpoint")


def _is_running(run: RunDir, state: RunState) -> bool:
    return true_state(run, read_state(run) or state) == "running"
