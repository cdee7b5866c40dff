"""The state of all runs, and of one run in full. `launch status --json` prints this: see docs/status.md."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.checkpoints import newest_checkpoint
from launcher.jobs.jobs import ask_for, known_state
from launcher.jobs.scheduler import Jobs
from launcher.numbers import duration
from launcher.rundir import RunDir
from launcher.runs.inspection import ComponentStatus, ProcessStatus, inspect_processes
from launcher.runs.liveness import GOING_ON, TrueState, is_local, last_seen, true_state
from launcher.runs.registry import every_run, project_runs, recorded
from launcher.runs.state import AttemptState, RunState, load_state, other_nodes, trouble_of
from launcher.runs.waits import Wait, read_waits
from launcher.stacks.collectives import ranks_text
from launcher.tracking.wandb_links import WandbLink, read_wandb_links
from launcher.view.metric_curves import newest_values, read_newest, series


@dataclass(frozen=True)
class RunStatus:
    """One line of the table. All times are in seconds since the epoch."""

    name: str
    directory: str
    kind: str
    state: TrueState
    reason: str | None  # why it waits or was stopped, if known
    job: str | None  # its id in Slurm, or the name of its JobSet
    attempt: int
    host: str
    is_local: bool  # whether it was started on this host
    started: float
    ended: float | None
    last_seen: float | None  # when its supervisor was last known to be alive; None after the run's end
    duration: float  # seconds, of this attempt
    exit_code: int | None
    step: int | None
    max_steps: int | None  # None: unknown
    component: str  # that logs the metric
    metric: str
    value: float | None  # of the metric, the newest one
    recent: list[float]  # its newest values, the newest last

    @property
    def is_over(self) -> bool:
        return self.state not in (*GOING_ON, "silent")


@dataclass(frozen=True)
class AttemptStatus:
    """An attempt before this one."""

    attempt: int
    state: str
    started: float
    ended: float | None
    exit_code: int | None
    reason: str | None  # why it was stopped, if known
    verdict: dict[str, Any] | None  # what was decided after it had failed


@dataclass(frozen=True)
class WandbStatus:
    component: str | None  # None: the user's program started the W&B run by itself
    name: str
    id: str
    url: str | None
    sync_command: str | None  # uploads the rest; None while the run is running


@dataclass(frozen=True)
class NodeStatus:
    """Another node of the run."""

    node: int
    host: str
    state: TrueState
    components: tuple[ComponentStatus, ...]


@dataclass(frozen=True)
class LateStatus:
    ranks: tuple[int, ...]  # global ranks
    nodes: tuple[int, ...]  # where they are; empty in a run on one node
    share: float  # of the time in which the others waited for them
    seconds: float  # the time that was looked at, until now
    collectives: int  # that were compared

    @property
    def text(self) -> str:
        """ "rank 5 on node 1: the others waited for it 38% of the last 12s"."""
        where = f" on {ranks_text(self.nodes, 'node')}" if self.nodes else ""
        them = "them" if len(self.ranks) > 1 else "it"
        waited = f"the others waited for {them} {self.share:.0%} of the last {duration(self.seconds)}"
        return f"{ranks_text(self.ranks)}{where}: {waited} ({self.collectives} collectives)"


@dataclass(frozen=True)
class RunDetails(RunStatus):
    """One run in full."""

    node: int | None  # rank of the node described here; None: the run has one node
    node_count: int  # that this attempt runs on
    spares: tuple[int, ...]  # nodes that wait
    other_nodes: list[NodeStatus]  # those that share the directory
    earlier: list[AttemptStatus]
    launchers: tuple[ProcessStatus, ...]  # launch's own: supervisor and guard
    components: tuple[ComponentStatus, ...]
    metrics: dict[str, dict[str, float]]  # the newest ones of each component
    wandb: list[WandbStatus]
    waits: list[Wait]  # what the run waits for, the longest wait first
    logs: str
    checkpoint: int | None  # step of the newest checkpoint that launch knows
    failure: dict[str, Any] | None  # the failure block, as run.json keeps it
    verdict: dict[str, Any] | None  # what was decided after this attempt had failed
    late: LateStatus | None = None  # ranks that the others wait for; only if they were looked for


@dataclass(frozen=True)
class Runs:
    """The runs of a project, or all runs, the newest first."""

    shown: list[RunStatus]
    unreadable: dict[Path, str]  # a run.json, and what is wrong with it


def all_runs(everywhere: bool = False) -> Runs:
    """The runs of this project, or with `everywhere` all known runs."""
    read: list[tuple[RunDir, RunState]] = []
    unreadable: dict[Path, str] = {}
    for root in every_run() if everywhere else project_runs():
        run = recorded(root) or RunDir(root)
        try:
            read.append((run, load_state(run)))
        except (OSError, ValueError) as error:
            unreadable[run.state] = trouble_of(error)
    jobs = ask_for(state for _, state in read)
    found = [run_status(run, state, jobs) for run, state in read]
    return Runs(sorted(found, key=lambda status: status.started, reverse=True), unreadable)


def run_status(run: RunDir, state: RunState, jobs: Jobs | None = None) -> RunStatus:
    """`jobs` comes from `ask_for`. Without it, only run.json is used."""
    known = known_state(run, state, jobs)
    truth = known.word
    steps = read_newest(run.metrics(state.progress.component))
    values = series(steps, state.progress.metric)
    seen = None if state.ended else _last_seen(run, state)
    return RunStatus(
        name=state.name,
        directory=str(run.root),
        kind=state.kind,
        state=truth,
        reason=known.reason,
        job=state.job.job if state.job else None,
        attempt=state.attempt,
        host=state.host,
        is_local=is_local(state),
        started=state.started,
        ended=state.ended,
        last_seen=seen,
        duration=_end(state, truth, seen) - state.started,
        exit_code=state.exit_code,
        step=steps[-1]["step"] if steps else None,
        max_steps=state.progress.max_steps,
        component=state.progress.component,
        metric=state.progress.metric,
        value=values[-1] if values else None,
        recent=values,
    )


def _last_seen(run: RunDir, state: RunState) -> float:
    return max(state.started, time.time() - last_seen(run))


def _end(state: RunState, truth: TrueState, seen: float | None) -> float:
    """The last time at which the attempt is known to have run."""
    return time.time() if truth in GOING_ON else state.ended or seen or state.started


def run_details(run: RunDir, state: RunState) -> RunDetails:
    """One run in full. Slower than `run_status`, because it inspects the processes."""
    status = run_status(run, state, ask_for([state]))
    found = inspect_processes(state, status.state)
    metrics = {process.name: newest_values(read_newest(run.metrics(process.name))) for process in state.processes}
    return RunDetails(
        **vars(status),
        node=state.node,
        node_count=state.places or state.nodes,
        spares=state.spares,
        other_nodes=[_node(other, its) for other, its in other_nodes(run, state)],
        earlier=[_attempt(earlier) for earlier in state.earlier],
        launchers=found.launchers,
        components=found.components,
        metrics={name: values for name, values in metrics.items() if values},
        wandb=[_wandb(link, status.is_over) for link in read_wandb_links(run, state.foreign_wandb)],
        waits=_waits(run, state) if status.state in GOING_ON else [],
        logs=str(run.logs),
        checkpoint=newest_checkpoint(run),
        failure=state.failure.model_dump(mode="json") if state.failure else None,
        verdict=state.verdict.model_dump(mode="json") if state.verdict else None,
    )


def _waits(run: RunDir, state: RunState) -> list[Wait]:
    """On all nodes that share the directory."""
    everywhere = [(run, state), *other_nodes(run, state)]
    waits = [wait for each, its in everywhere for wait in read_waits(each.of(its.attempt), its)]
    return sorted(waits, key=lambda wait: wait.since)


def _node(run: RunDir, state: RunState) -> NodeStatus:
    assert run.node is not None
    truth = true_state(run, state)
    return NodeStatus(run.node, state.host, truth, inspect_processes(state, truth).components)


def _attempt(earlier: AttemptState) -> AttemptStatus:
    """An attempt without a recorded end has died if there is a later one."""
    died = earlier.state in GOING_ON
    return AttemptStatus(**earlier.model_dump() | ({"state": "died"} if died else {}))


def _wandb(link: WandbLink, is_over: bool) -> WandbStatus:
    return WandbStatus(link.component, link.name, link.id, link.url, link.sync_command if is_over else None)
