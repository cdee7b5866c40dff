"""Keeps run.json up to date while the run is alive."""

import signal
from collections.abc import Callable

from launcher.nodes.messages import Lost, Reported
from launcher.processes.identity import identify
from launcher.runs.state_file import TIME_LIMIT, StateFile
from launcher.supervisor.rules.actions import Action, Decided, Kill, StartAgain, Stop
from launcher.supervisor.rules.events import (
    Event,
    Exited,
    Heartbeat,
    RankExited,
    RankStarted,
    Ready,
    Signalled,
    Started,
)

Later = Callable[[Callable[[], None]], object]
"""Calls a function when all events that have happened are handled."""


class StateListener:
    """A listener that writes each change of the run's state to its run.json, at once or `later`.

    Later is better while processes are being started or ended: they do not wait for the disk, and several changes are
    one write.
    """

    def __init__(self, file: StateFile, later: Later | None = None) -> None:
        self.file = file
        self._later = later or (lambda write: write())
        self._is_due = False

    def __call__(self, event: Event | Action) -> None:
        match event:
            case Started(name, pid):
                process = self.file.state.process(name)
                process.process, process.ready_after = identify(pid), None
                process.exit_code = process.ended_by = None
            case Ready(name, after):
                self.file.state.process(name).ready_after = after
            case RankStarted(name, rank, pid):
                state = self.file.state.process(name).ranks[rank]
                state.process, state.exit_code, state.ended_by = identify(pid), None, None
            case RankExited(name, rank, exit_code):
                state = self.file.state.process(name).ranks[rank]
                state.exit_code, state.ended_by = exit_code, event.ended_by
            case Exited(name, exit_code):
                process = self.file.state.process(name)
                process.exit_code, process.ended_by = exit_code, event.ended_by
            case StartAgain(name, what):
                process = self.file.state.process(name)
                process.restarts, process.restarted = process.restarts + 1, what
            case Decided(verdict):
                self.file.decide(verdict)
            case Heartbeat():
                self.file.touch()
                return
            case Signalled(signal.SIGUSR1) if self.file.state.state != "stopping":
                self.file.state.reason = TIME_LIMIT
            case Reported(_, report) if report.signal == signal.SIGUSR1 and self.file.state.state != "stopping":
                self.file.state.reason = TIME_LIMIT
            case Lost(node) if node in (spares := self.file.state.spares):
                self.file.state.spares = tuple(spare for spare in spares if spare != node)
            case Stop() | Kill():
                self.file.state.state = "stopping"
            case _:
                return
        if not self._is_due:
            self._is_due = True
            self._later(self._write)

    def _write(self) -> None:
        self._is_due = False
        self.file.write_if_possible()
