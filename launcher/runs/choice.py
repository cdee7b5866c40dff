"""Finds the run that a command means: one function for all commands."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.borders.screen import quoted
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.runs.liveness import GOING_ON, living_processes, true_state
from launcher.runs.registry import call_name, every_run, project_runs, recorded, runs_beginning, runs_called
from launcher.runs.state import RunState, open_run, read_state

LISTED = 8  # runs in a message
_FURTHER = {"restart": " COMPONENT"}  # what is typed after the run


def find_run(text: str | None, command: str) -> tuple[RunDir, RunState]:
    """The run that `launch COMMAND [RUN]` means, and its state.

    RUN is a directory, a name or the beginning of a name. Without RUN, it is the newest live run of this project, or
    else the newest one. `stop`, `restart` and `resume` change a run, so without RUN they need exactly one candidate.

    Raises:
        UserError: there is no such run, or there are several candidates.
    """
    return open_run(_here(command) if text is None else _named(text, command))


@dataclass(frozen=True)
class _Found:
    run: RunDir
    state: RunState

    @property
    def is_alive(self) -> bool:
        return true_state(self.run, self.state) in GOING_ON

    @property
    def can_be_stopped(self) -> bool:
        now = true_state(self.run, self.state)
        return now in (*GOING_ON, "silent") or (now == "died" and bool(living_processes(self.state)))

    @property
    def can_be_continued(self) -> bool:
        return true_state(self.run, self.state) != "finished"


# --- without RUN ------------------------------------------------------------------------------------------------------


def _here(command: str) -> Path:
    roots = project_runs()
    if not roots:
        raise _none_here(command)
    runs = _by_start(roots)
    if not runs:
        return roots[0]  # its run.json cannot be read: the caller reports that
    meant = _could_be_meant(runs, command)
    if len(meant) > 1:
        raise UserError(
            f"{len(meant)} runs match; name one of them",
            _listing([found.run.root for found in meant], command),
        )
    return meant[0].run.root


def _could_be_meant(runs: Sequence[_Found], command: str) -> Sequence[_Found]:
    """The candidates of this project, the newest first. Only one unless the command changes a run."""
    if command == "stop":
        return [found for found in runs if found.can_be_stopped] or runs[:1]
    if command in ("restart", "checkpoint"):
        return [found for found in runs if found.is_alive] or runs[:1]
    if command == "resume":  # a finished run can continue with more steps, so the newest is always a candidate
        return [found for found in runs if found.can_be_continued] if runs[0].can_be_continued else runs
    return [next((found for found in runs if found.is_alive), runs[0])]


def _none_here(command: str) -> UserError:
    runs = _by_start(every_run())
    if not runs:
        return UserError("there is no run yet", "start one with: launch rl")
    alive_first = sorted(runs, key=lambda found: not found.is_alive)
    listing = _listing([found.run.root for found in alive_first], command)
    return UserError("there is no run below ./outputs; name a run that is elsewhere", listing)


def _by_start(roots: Iterable[Path]) -> list[_Found]:
    """The runs that can be read, the newest first."""
    runs = [recorded(root) or RunDir(root) for root in roots]
    found = [_Found(run, state) for run in runs if (state := read_state(run))]
    return sorted(found, key=lambda found: found.state.started, reverse=True)


# --- with RUN ---------------------------------------------------------------------------------------------------------


def _named(text: str, command: str) -> Path:
    found = _called(text) or (runs_beginning(text) if text and "/" not in text else [])
    if len(found) > 1:
        same = bool(_called(text))
        how = "are called" if same else "have names that begin with"
        raise UserError(f"{len(found)} runs {how} {text}", _listing(found, command, by_directory=same))
    if not found:
        raise _unknown(text)
    return found[0]


def is_called(text: str) -> bool:
    """Whether a run has exactly this name, or this directory."""
    return bool(_called(text))


def _called(text: str) -> list[Path]:
    """The runs with this name or directory. A text with a slash, and "." or "..", can only be a directory."""
    here = {Path(text).resolve()} if text and recorded(Path(text)) else set()
    return sorted(here if "/" in text or text in ("", ".", "..") else here | set(runs_called(text)))


def _unknown(text: str) -> UserError:
    runs = _by_start(project_runs()) or _by_start(every_run())
    if not runs:
        return UserError("there is no run yet", "start one with: launch rl")
    newest = ", ".join(found.state.name for found in runs[:5])
    return UserError(f"there is no run {text!r}", f"the newest: {newest}")


# --- messages -----------------------------------------------------------------------------------------------------


def _listing(roots: Sequence[Path], command: str, by_directory: bool = False) -> str:
    """The runs, and the command line for the first of them."""
    lines = [_line(root) for root in roots[:LISTED]]
    if len(roots) > LISTED:
        lines.append(f"and {len(roots) - LISTED} more: launch status --all")
    typed = quoted(str(roots[0])) if by_directory else call_name(roots[0], _name(roots[0]))
    return "\n  ".join([*lines, f"such as: launch {command} {typed}{_FURTHER.get(command, '')}"])


def _line(root: Path) -> str:
    run = recorded(root) or RunDir(root)
    state = read_state(run)
    if state is None:
        return f"{root}  cannot be read"
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(state.started))
    return f"{state.name}  {true_state(run, state)}, started {started}, {root}"


def _name(root: Path) -> str:
    state = read_state(recorded(root) or RunDir(root))
    return state.name if state else root.name
