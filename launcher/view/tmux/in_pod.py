"""`launch attach` of a run in Kubernetes whose logs cannot be read here: in its first pod, by `kubectl exec`."""

import os
import sys
from collections.abc import Sequence

from launcher.borders.screen import in_one_line
from launcher.errors import UserError
from launcher.k8s.client import in_first_pod
from launcher.k8s.jobset import RESTARTS_VARIABLE
from launcher.rundir import RunDir
from launcher.runs.registry import call_name
from launcher.runs.state import RunState
from launcher.view.logs.sources import can_be_read


def attach_in_pod(run: RunDir, state: RunState, options: Sequence[str]) -> None:
    """Become `launch attach` in the pod. Returns if the logs can be read here or no pod runs. Raises UserError."""
    is_in_a_pod = RESTARTS_VARIABLE in os.environ
    if state.k8s is None or not state.k8s.job or is_in_a_pod or can_be_read(run, state):
        return
    argv = in_first_pod(state.k8s, run, ["attach", str(run.root), *options])
    if argv is None:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        hint = f"`launch logs {call_name(run.root, state.name)}` prints what the pods have printed, -f follows it"
        raise UserError("there is no terminal to attach to", hint)
    print(in_one_line(f"launch: {run.logs} has no logs that can be read here: {' '.join(argv)}"), file=sys.stderr)
    os.execvp(argv[0], argv)
