"""`--detach`: shows the run's start on the terminal, then leaves the run in the background."""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from launcher.borders.files import appending
from launcher.plan.spec import Plan
from launcher.supervisor.rules.actions import Action, Stop
from launcher.supervisor.rules.events import Event, Exited, RankStarted, Ready, Started
from launcher.view.last_words import emphasised
from launcher.view.report import typed_name
from launcher.view.terminal import shows_colours

SETTLED = 1.0  # seconds that everything must have been up; a failed import ends a component sooner
_SEPARATOR = b"\0"  # between the text for the terminal and launch's exit code


def leave_terminal(run: str) -> int:
    """Fork, and return in the new process, which has no terminal, with a pipe to the old one.

    The old process waits until the run has started, shows the text from the pipe, and exits. Ctrl-C ends only this
    wait. `run` is the run's name as a person types it. Raises OSError.
    """
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    if os.fork():
        os.close(write_end)
        _relay(read_end, run)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    return write_end


def stay_behind(run: str, words: Callable[[int], str], log: Path | None) -> None:
    """Leave the terminal at once. It shows `words`, made of the pid of the process that continues.

    What that process says from then on is appended to the log.
    """
    with os.fdopen(leave_terminal(run), "wb") as stream:
        said = words(os.getpid()).encode(errors="surrogateescape")
        if log and (trouble := _say_to(log, said)):
            said += f"its output is not kept: {log}: {trouble}\n".encode(errors="surrogateescape")
        stream.write(said + _SEPARATOR + b"0")


def _say_to(log: Path, first: bytes) -> str | None:
    """Send stdout and stderr to the log, after the first words. Returns why that is not possible, if so."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with appending(log) as file:
            file.write(first)
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _relay(read_end: int, run: str) -> None:
    try:
        with os.fdopen(read_end, "rb") as pipe:
            text, _, code = pipe.read().partition(_SEPARATOR)
        words, exit_code = text.decode(errors="surrogateescape"), int(code or b"1")
    except KeyboardInterrupt:
        words, exit_code = f"\nthe run continues in the background; end it with: launch stop {run}\n", 130
    with suppress(OSError):  # the run does not depend on it
        sys.stdout.write(emphasised(words, shows_colours()) or f"launch itself has failed; see: launch status {run}\n")
        sys.stdout.flush()
    os._exit(exit_code)


class Detached:
    """A screen until everything has started: components and ranks run, and servers are ready."""

    def __init__(self, plan: Plan, header: str, pipe: int) -> None:
        self.header = header
        self._run = typed_name(plan)
        self._pipe: int | None = pipe
        self._lock = threading.Lock()
        self._timer = threading.Timer(SETTLED, self._it_is_up)
        self._timer.daemon = True
        self._awaited: set[tuple[str, object]] = {(spec.name, "started") for spec in plan.processes}
        self._awaited |= {(spec.name, "ready") for spec in plan.processes if spec.ready}
        self._awaited |= {(spec.name, rank) for spec in plan.processes for rank in range(len(spec.rank_logs))}

    def __call__(self, event: Event | Action) -> None:
        match event:
            case Started(name, _):
                self._awaited.discard((name, "started"))
            case Ready(name, _):
                self._awaited.discard((name, "ready"))
            case RankStarted(name, rank, _):
                self._awaited.discard((name, rank))
            case Exited(name, _):  # with 0, as it may: any other end is the run's
                self._awaited -= {(name, "started"), (name, "ready")}
        if isinstance(event, Stop):
            self._timer.cancel()
        elif not self._awaited and self._timer.ident is None:
            self._timer.start()

    def close(self, last_words: str, exit_code: int) -> None:
        """The run has ended. If the terminal still waits for the start, tell it why."""
        self._timer.cancel()
        self._say(f"{self.header}\n{last_words}", exit_code)

    def _it_is_up(self) -> None:
        self._say(f"{self.header}\nit continues in the background; end it with: launch stop {self._run}\n", 0)

    def _say(self, text: str, exit_code: int) -> None:
        """Send the first text and close the pipe. Later texts are ignored."""
        with self._lock:
            pipe, self._pipe = self._pipe, None
        if pipe is not None:
            with suppress(OSError), os.fdopen(pipe, "wb") as stream:  # the terminal may not have waited
                stream.write(text.encode(errors="surrogateescape") + _SEPARATOR + str(exit_code).encode())
