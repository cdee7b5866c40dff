"""The logs of a run in Kubernetes whose directory has none that can be read here: what its pods have printed."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from launcher.borders.files import Bounds
from launcher.borders.screen import in_one_line
from launcher.errors import UserError
from launcher.k8s.pod_logs import PodLogs
from launcher.rundir import RunDir
from launcher.runs.state import RunState
from launcher.view.logs.request import LogRequest, Selection, entry_filter
from launcher.view.logs.sources import Source, can_be_read


@dataclass(frozen=True)
class PodSelection(Selection):
    """The pods' output in place of the run's own logs."""

    pods: PodLogs

    @property
    def has_several_ranks(self) -> bool:
        return False

    def sources(self) -> list[Source]:
        bounds = Bounds(self.pods.directory)
        return [
            Source(log.path, log.component, bounds, node=log.node)
            for log in self.pods.logs()
            if self.component in (None, log.component)
        ]

    def troubles(self) -> list[str]:
        return self.pods.troubles()


@contextmanager
def of_pods(run: RunDir, state: RunState, request: LogRequest, follow: bool) -> Iterator[PodSelection | None]:
    """None for a run that has logs of its own here, or no pods that have started. Raises UserError."""
    is_newest = request.attempt in (None, state.attempt)
    if state.k8s is None or not state.k8s.job or not is_newest or can_be_read(run, state):
        yield None
        return
    with _ended_by_exit(), PodLogs(run, state.k8s, follow) as pods:
        logs = pods.look()
        if not logs:
            if pods.trouble:
                where = f"{run.logs} has no logs that can be read here, and its pods cannot be asked for"
                print(in_one_line(f"launch: {where}: {pods.trouble}"), file=sys.stderr, flush=True)
            yield None
            return
        _check(state.name, request, sorted({log.component for log in logs}))
        where = f"{run.logs} has no logs that can be read here: kubectl logs of JobSet {state.k8s.job}"
        print(in_one_line(f"launch: {where}"), file=sys.stderr, flush=True)
        if not follow:
            pods.wait()
        yield PodSelection(run, state, request.component, (), entry_filter(request), pods)


def _check(name: str, request: LogRequest, components: list[str]) -> None:
    if request.ranks:
        raise UserError(
            f"--rank: run {name} has no logs of ranks here, only what its pods have printed", "leave it out"
        )
    if request.component not in (None, *components):
        hint = f"its pods: {', '.join(components)}; what a pod prints has all components of its node"
        raise UserError(f"run {name} has no logs of {request.component} here", hint)


@contextmanager
def _ended_by_exit() -> Iterator[None]:
    """SIGTERM and SIGHUP, as of a closed terminal, leave no files behind."""
    before = {each: signal.signal(each, lambda number, _: sys.exit(128 + number)) for each in _ENDING}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


_ENDING = (signal.SIGTERM, signal.SIGHUP)
