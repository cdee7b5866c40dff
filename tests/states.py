"""What `run.json` says of a run, without one."""

import platform
import time
from typing import Any

from launcher.processes.identity import boot_id
from launcher.rundir import RunDir
from launcher.runs.state import ProcessState, ProgressState, RunState


def state_of(run: RunDir, **facts: Any) -> RunState:
    """The state of an SFT run of one trainer that has finished on this host, unless `facts` say otherwise."""
    values: dict[str, Any] = {
        "name": run.root.name,
        "kind": "sft",
        "attempt": run.attempt,
        "state": "finished",
        "host": platform.node(),
        "boot_id": boot_id(),
        "started": time.time() - 60,
        "ended": None if facts.get("state") in ("queued", "starting", "running") else time.time(),
        "grace": 30,
        "progress": ProgressState(component="trainer", metric="loss", max_steps=3),
        "processes": [ProcessState(name="trainer", log=run.component_log("trainer"))],
    }
    return RunState(**(values | facts))
