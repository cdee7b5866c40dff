"""`--on-exit COMMAND`: runs a command after the run, such as a notification or a copy."""

import os
import shlex
import subprocess

from launcher.borders.files import appending
from launcher.processes.signals import unblocked
from launcher.rundir import RunDir
from launcher.runs.state import RunState

SECONDS = 60.0  # limit for the command


def run_on_exit(command: str, run: RunDir, state: RunState) -> str | None:
    """Run the command, with the outcome in its environment and its output in on_exit.log. Returns its error, if any.

    Variables: LAUNCH_RUN, LAUNCH_RUN_DIR, LAUNCH_ATTEMPT, LAUNCH_STATE (finished, failed, stopped), LAUNCH_EXIT_CODE,
    LAUNCH_FAILURE (the failure block; empty without one).
    """
    outcome = {
        "LAUNCH_RUN": state.name,
        "LAUNCH_RUN_DIR": str(run.root),
        "LAUNCH_ATTEMPT": str(run.attempt),
        "LAUNCH_STATE": state.state,
        "LAUNCH_EXIT_CODE": str(state.exit_code),
        "LAUNCH_FAILURE": state.failure.text if state.failure else "",
    }
    try:
        with appending(run.on_exit_log) as log, unblocked():  # the run has ended: signals no longer matter
            done = subprocess.run(
                shlex.split(command),
                env={**os.environ, **outcome},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=SECONDS,
                check=False,
            )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return str(error)
    return f"exit code {done.returncode}, see {run.on_exit_log}" if done.returncode else None
