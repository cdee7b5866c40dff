"""A checkpoint now: a file in the run's directory that the reference trainer looks for after each step.

No socket and no signal: all ranks have to write at the same step, and node 0 may be another machine.
"""

import time
from collections.abc import Callable
from pathlib import Path

from launcher.borders.files import overwrite
from launcher.borders.screen import quoted
from launcher.checkpoints import newest_checkpoint
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.runs.liveness import true_state
from launcher.runs.registry import call_name
from launcher.runs.state import RunState, read_state

POLL = 0.1  # seconds between two looks


def checkpoint_now(run: RunDir, state: RunState, asked: Callable[[], None] = lambda: None) -> Path:
    """Have the trainer write a checkpoint, and wait for it. Returns its directory. `asked` is called before the wait.

    Whoever stops waiting leaves the request: others may wait for it too. Raises UserError when the run is not running,
    when its trainer knows nothing of this, or when it ends first.
    """
    first, state = _of_first_node(run, state)
    _check(first, state)
    request, ended = first.checkpoint_request, None
    try:
        overwrite(request, b"")
    except OSError as error:
        raise UserError(f"{request}: cannot be written: {error.strerror}") from None
    asked()
    while request.exists() and not (ended := _how_trainer_ended(first, state)):
        time.sleep(POLL)
    is_served = not request.exists()
    request.unlink(missing_ok=True)
    newest = newest_checkpoint(first)
    if newest is None or not (is_served or ended == "finished"):
        see = f"see: launch status {call_name(first.root, state.name)}"
        raise UserError(f"the trainer of {state.name} has ended before it wrote a checkpoint", see)
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
    if (now := true_state(run, state)) != "running":
        raise UserError(f"{state.name} is {now}: only a running run can write a checkpoint")
    if not state.own_checkpoints:
        raise UserError(
            f"the trainer of {state.name} is your own, which launch cannot ask for a checkpoint",
            f"if it looks for this file, type: touch {quoted(str(run.checkpoint_request))}",
        )


def _how_trainer_ended(run: RunDir, before: RunState) -> str | None:
    """None while it runs, or will again in the next attempt. A finished trainer has written its last checkpoint."""
    state = read_state(run) or before
    if (now := true_state(run, state)) not in ("starting", "running"):
        return now
    return "finished" if state.process("trainer").exit_code == 0 else None
