"""Starting one process of the plan."""

import os
import subprocess
from collections.abc import Mapping
from functools import partial

from launcher.borders.files import appending
from launcher.plan.environment import child_environment
from launcher.plan.spec import ProcessSpec
from launcher.processes.process_tree import end_with
from launcher.processes.proof import mark
from launcher.processes.signals import unblocked


def spawn(spec: ProcessSpec, environment: Mapping[str, str]) -> int:
    """Start the process in its own session, with its output appended to its log. Returns the pid. Raises OSError."""
    spec.log.parent.mkdir(parents=True, exist_ok=True)
    with appending(spec.log) as log, unblocked():
        process = subprocess.Popen(
            spec.argv,
            cwd=spec.cwd,
            env=child_environment(spec, environment) | mark(os.getpid()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=partial(end_with, os.getpid()),  # safe after fork: two system calls, no lock
        )
    process.returncode = 0  # Popen must not reap it: the supervisor reaps all children
    return process.pid
