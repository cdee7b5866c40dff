"""Finds the files with the lines of an attempt, so that each line is shown exactly once.

A rank's lines are in torchrun's stdout.log and stderr.log; those that it sends through `setup_logger` are in rank_N.log
as well, and with --tee those of the shown ranks are in the component's log. So the source is torchrun's files where
stdout is redirected, else the component's log for a rank that is shown there, else rank_N.log. Of the component's log
only what torchrun itself says is left.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.borders.files import Bounds, matching
from launcher.borders.screen import in_one_line
from launcher.rundir import RunDir
from launcher.runs.state import ProcessState, RunState, TorchrunState, other_nodes
from launcher.view.logs.bounds import own_bounds, rank_bounds


@dataclass(frozen=True)
class Part:
    """The lines of one rank on torchrun's console, or with None torchrun's own."""

    role: str
    shown: tuple[int, ...]  # local ranks, as `rank`
    rank: int | None


@dataclass(frozen=True)
class Source:
    """A file, which need not exist yet. `part` says which lines are meant, if not all are."""

    path: Path
    component: str
    bounds: Bounds  # where it must lie
    rank: int | None = None  # global rank
    part: Part | None = None
    node: int | None = None  # of a run on several
    begun: float | None = None  # when the attempt was, in seconds since the epoch: lines with a time may have no date

    @property
    def label(self) -> str:
        """Ranks are numbered over all nodes; of anything else each node has its own."""
        component = in_one_line(self.component)
        if self.rank is not None:
            return f"{component} {self.rank}"
        return component if self.node is None else f"{component}@{self.node}"

    @property
    def is_stderr(self) -> bool:
        """Whether the file has nothing but what was written to stderr."""
        return self.path.name == "stderr.log"


def attempts(run: RunDir) -> list[int]:
    """The attempts that have logs, in order."""
    numbers = (path.name.removeprefix("attempt_") for path in matching(run.all_logs, "attempt_*"))
    return sorted(int(number) for number in numbers if number.isdecimal())


def sources(run: RunDir, state: RunState) -> list[Source]:
    """The files of the attempt that `run` is of, of all nodes that share it; ranks that have started have theirs."""
    nodes = [(run, state), *other_nodes(run, state)]
    return [
        replace(source, node=each.node, begun=_begun(each, its))
        for each, its in nodes
        for source in _of_node(each, its)
    ]


def can_be_read(run: RunDir, state: RunState) -> bool:
    """Whether any log of the newest attempt is there."""
    return any(os.access(source.path, os.R_OK) for source in sources(run.of(state.attempt), state))


def _begun(run: RunDir, state: RunState) -> float | None:
    if run.attempt == state.attempt:
        return state.started
    return next((earlier.started for earlier in state.earlier if earlier.attempt == run.attempt), None)


def _of_node(run: RunDir, state: RunState) -> Iterator[Source]:
    bounds = own_bounds(run)
    yield Source(run.launcher_log, "launcher", bounds)
    for process in state.processes:
        if process.torchrun:
            yield from _of_ranks(run, state.attempt, process, process.torchrun)
        else:
            yield Source(run.component_log(process.name), process.name, bounds)


def _of_ranks(run: RunDir, newest: int, process: ProcessState, torchrun: TorchrunState) -> Iterator[Source]:
    bounds, rank_files = own_bounds(run), rank_bounds(run, process)
    name = f"{torchrun.directory.name.removesuffix(f'-{newest}')}-{run.attempt}"  # an earlier attempt had its own
    directory = (process.log_dir or run.torchrun) / name
    log = run.component_log(process.name)
    yield Source(log, process.name, bounds, part=Part(torchrun.role, torchrun.shown, None))
    for local, rank in enumerate(found.rank for found in process.ranks):
        for path in matching(directory, f"attempt_*/{local}/std???.log"):
            yield Source(path, process.name, rank_files, rank)
        if local in torchrun.in_files:
            continue
        if local in torchrun.shown:
            yield Source(log, process.name, bounds, rank, Part(torchrun.role, torchrun.shown, local))
        else:
            yield Source(run.rank_log(rank, process.name), process.name, bounds, rank)
