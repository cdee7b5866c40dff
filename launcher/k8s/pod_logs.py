"""What the pods of a run have printed, for a machine that cannot read the run's logs: `kubectl logs`, into files."""

import os
import re
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from launcher.k8s import client
from launcher.k8s.jobset import CONTAINER, FIRST_NODE
from launcher.k8s.kubectl import NoAnswer, place, text_at
from launcher.k8s.pod_stream import PodStream
from launcher.rundir import RunDir
from launcher.runs.state import K8sState

LOOK_EVERY = 10.0  # seconds between two looks for new pods; sooner when one does not print any more
SOON = 1.0
_ENDED = ("Succeeded", "Failed")
_RANK = re.compile(r"[0-9]{1,6}")


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
        self._logs: dict[str, tuple[PodLog, PodStream]] = {}
        self._told: set[str] = set()
        self._looked = 0.0
        self.trouble: str | None = None  # why the pods cannot be asked for
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        made = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="launch-logs-"))
        self.directory = Path(os.path.realpath(made))
        self._stack.callback(self._end)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def look(self) -> list[PodLog]:
        """Start kubectl for pods that have started, and again where it has ended too early. The files of all."""
        self._looked = time.monotonic()
        try:
            pods = client.pods(self._job, client.key(self._run))
        except NoAnswer as error:
            self.trouble = str(error)
            return self.logs()
        phases = {}
        for pod in pods:
            name, phase = text_at(pod, "metadata", "name"), text_at(pod, "status", "phase")
            phases[name] = phase
            if name not in self._logs and client.POD_NAME.fullmatch(name) and phase in ("Running", *_ENDED):
                self._logs[name] = self._new(name, pod)
        for name, (_, stream) in self._logs.items():
            if name in phases:
                stream.look(phases[name] in _ENDED)
            else:
                stream.give_up()
        return self.logs()

    def logs(self) -> list[PodLog]:
        return [log for log, _ in self._logs.values()]

    def wait(self) -> None:
        """Until all has been fetched."""
        for stream in self._streams():
            stream.wait()

    def go_on(self) -> bool:
        """Whether more may come. Looks for new pods, and for streams that have ended early, now and then."""
        all_print = all(stream.is_printing or stream.is_complete for stream in self._streams())
        some_print = any(stream.is_printing for stream in self._streams())
        if time.monotonic() - self._looked < (LOOK_EVERY if all_print and some_print else SOON):
            return True
        self.look()
        return any(not stream.is_complete for stream in self._streams()) or self._may_print()

    def _streams(self) -> list[PodStream]:
        return [stream for _, stream in self._logs.values()]

    def _may_print(self) -> bool:
        """No pod prints. One that is lost may be started anew, and one that waits may start."""
        jobset = client.ask([self._job]).get(self._job.job)
        return isinstance(jobset, client.JobSet) and jobset.is_living and (jobset.is_waiting or self._job.retries)

    def troubles(self) -> list[str]:
        """What kubectl says of logs that it does not give; each once."""
        new = {name: stream.trouble for name, (_, stream) in self._logs.items() if name not in self._told}
        found = {name: words for name, words in new.items() if words is not None}
        self._told |= found.keys()
        return [f"kubectl logs {name}: {words}" for name, words in found.items()]

    def _new(self, name: str, pod: Any) -> tuple[PodLog, PodStream]:
        path = self.directory / f"{name}.log"
        argv = ["kubectl", *place(self._job), "logs", name, "-c", CONTAINER]
        return PodLog(path, _group(pod), _node(pod)), PodStream(path, argv, self._follow)

    def _end(self) -> None:
        for stream in self._streams():
            stream.end()


def _group(pod: Any) -> str:
    group = text_at(pod, "metadata", "labels", client.GROUP_LABEL)
    return group if client.POD_NAME.fullmatch(group) else "trainer"


def _node(pod: Any) -> int | None:
    """The pod's rank among the run's nodes."""
    first, index = (text_at(pod, "metadata", "annotations", name) for name in (FIRST_NODE, client.INDEX_ANNOTATION))
    return int(first) + int(index) if _RANK.fullmatch(first) and _RANK.fullmatch(index) else None
