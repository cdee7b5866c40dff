"""What the pods of a run have printed, for a machine that cannot read the run's logs: `kubectl logs`, into files."""

import os
import re
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from launcher.borders.screen import in_one_line
from launcher.k8s import client
from launcher.k8s.jobset import CONTAINER, FIRST_NODE
from launcher.processes.process_tree import end_with
from launcher.rundir import RunDir
from launcher.runs.state import K8sState

LOOK_EVERY = 10.0  # seconds between two looks for new pods; sooner when no pod prints any more
SOON = 1.0
_POD = re.compile(r"[a-z0-9][a-z0-9.-]{0,252}")  # kubectl must not take it for an option, nor a terminal for a command
_RANK = re.compile(r"[0-9]{1,6}")
_INDEX = "batch.kubernetes.io/job-completion-index"
_GROUP = "jobset.sigs.k8s.io/replicatedjob-name"


@dataclass(frozen=True)
class PodLog:
    """A file that `kubectl logs` writes: what a pod has printed, which is a node of the run."""

    path: Path
    component: str  # the trainer's nodes, or those of inference
    node: int | None  # None: the run has one


class PodLogs:
    """The logs of all pods that have started. The files and `kubectl` end with the `with` block."""

    def __init__(self, run: RunDir, job: K8sState, follow: bool) -> None:
        self._run, self._job, self._follow = run, job, follow
        self._logs: dict[str, tuple[PodLog, subprocess.Popen[bytes]]] = {}
        self._told: set[str] = set()
        self._looked = 0.0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        made = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="launch-logs-"))
        self.directory = Path(os.path.realpath(made))
        self._stack.callback(self._end)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def look(self) -> list[PodLog]:
        """Start kubectl for pods that are new and have started. The files of all."""
        self._looked = time.monotonic()
        for pod in client.pods(self._job, client.key(self._run)) or ():
            name, phase = client.text_at(pod, "metadata", "name"), client.text_at(pod, "status", "phase")
            if name not in self._logs and _POD.fullmatch(name) and phase in ("Running", "Succeeded", "Failed"):
                self._logs[name] = self._start(name, pod)
        return self.logs()

    def logs(self) -> list[PodLog]:
        return [log for log, _ in self._logs.values()]

    def wait(self) -> None:
        """Until all has been fetched."""
        for _, kubectl in self._logs.values():
            kubectl.wait()

    def go_on(self) -> bool:
        """Whether more may come. Looks for new pods now and then."""
        is_printing = any(kubectl.poll() is None for _, kubectl in self._logs.values())
        if time.monotonic() - self._looked < (LOOK_EVERY if is_printing else SOON):
            return True
        known = len(self._logs)
        self.look()
        return is_printing or len(self._logs) > known or self._may_print()

    def _may_print(self) -> bool:
        """No pod prints. One that is lost may be started anew, and one that waits may start."""
        jobset = client.ask([self._job]).get(self._job.job)
        return jobset is not None and jobset.is_living and (jobset.is_waiting or self._job.retries)

    def troubles(self) -> list[str]:
        """What kubectl says of logs that it does not have; each once."""
        new = []
        for name, (log, kubectl) in self._logs.items():
            if name not in self._told and kubectl.poll() not in (None, 0):
                self._told.add(name)
                words = log.path.with_suffix(".err").read_text(errors="replace")
                new.append(in_one_line(f"kubectl logs {name}: {words.strip().removeprefix('error: ')}")[:500])
        return new

    def _start(self, name: str, pod: Any) -> tuple[PodLog, "subprocess.Popen[bytes]"]:
        path = self.directory / f"{name}.log"
        argv = ["kubectl", *client.place(self._job), "logs", name, "-c", CONTAINER, *(["-f"] if self._follow else [])]
        with path.open("wb") as out, path.with_suffix(".err").open("wb") as errors:
            kubectl = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, preexec_fn=partial(end_with, os.getpid())
            )
        return PodLog(path, _group(pod), _node(pod)), kubectl

    def _end(self) -> None:
        for _, kubectl in self._logs.values():
            kubectl.terminate()
        self.wait()


def _group(pod: Any) -> str:
    group = client.text_at(pod, "metadata", "labels", _GROUP)
    return group if _POD.fullmatch(group) else "trainer"


def _node(pod: Any) -> int | None:
    """The pod's rank among the run's nodes."""
    first, index = (client.text_at(pod, "metadata", "annotations", name) for name in (FIRST_NODE, _INDEX))
    return int(first) + int(index) if _RANK.fullmatch(first) and _RANK.fullmatch(index) else None
