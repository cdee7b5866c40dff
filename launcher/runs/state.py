"""run.json: what is known of a run, for everybody who was not there when it happened."""

import json
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from launcher.borders.files import read_bytes
from launcher.borders.screen import in_one_line
from launcher.borders.values import (
    MOST_ATTEMPTS,
    MOST_PROCESSES,
    MOST_RANKS,
    Count,
    ExitCode,
    Identity,
    JobId,
    Label,
    LocalPath,
    Moment,
    Name,
    Phrase,
    Seconds,
    SocketName,
    Step,
    Text,
)
from launcher.errors import UserError
from launcher.machine.provenance import Provenance
from launcher.plan.spec import ForeignRun, Plan, ProcessSpec
from launcher.processes.identity import ProcessId, boot_id
from launcher.rundir import RunDir
from launcher.runs.registry import nodes_there, recorded

Ender = Literal["launch", "torchrun"]


TROUBLE = 300  # characters of why run.json cannot be read


Panes = Annotated[tuple[LocalPath, ...], Field(max_length=MOST_RANKS), FailFast()]
Names = Annotated[tuple[Name, ...], Field(max_length=MOST_PROCESSES), FailFast()]
Labels = Annotated[tuple[Label, ...], Field(max_length=MOST_PROCESSES), FailFast()]
ForeignRuns = Annotated[list[ForeignRun], Field(max_length=MOST_PROCESSES)]
State = Literal["queued", "starting", "running", "stopping", "finished", "failed", "stopped"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)  # a newer launch may know more


class RankState(_Record):
    rank: Count  # global rank
    log: LocalPath  # the file that shows what it does
    process: ProcessId | None = None
    exit_code: ExitCode | None = None
    ended_by: Ender | None = None  # None: it has ended by itself, or has not


class ProcessState(_Record):
    name: Name
    log: LocalPath
    log_dir: LocalPath | None = None  # torchrun's, where the user has named one
    panes: Panes = ()  # the files to look at: its log, or those of its ranks if the log stays empty
    gpus: Labels = ()
    process: ProcessId | None = None
    after: Names = ()  # what must be ready, or at least started, before this is started
    has_ready_check: bool = False
    ready_after: Seconds | None = None  # None if it is not ready, or has nothing that would say so
    exit_code: ExitCode | None = None
    ended_by: Ender | None = None
    ranks: Annotated[list[RankState], Field(max_length=MOST_RANKS)] = []


class ProgressState(_Record):
    """Which metric of which component says how the run is doing."""

    component: Name
    metric: Label
    max_steps: Step | None  # None: unknown


class FailureState(_Record):
    """The failure block, as it was shown."""

    component: Phrase
    rank: Count | None  # global rank
    what: Phrase
    cause: Text
    log: LocalPath | None
    collateral: Annotated[list[Phrase], Field(max_length=MOST_PROCESSES + MOST_RANKS)]
    text: Text
    node: Count | None = None  # of a run on several
    host: Label | None = None


class AttemptState(_Record):
    """An attempt that is over."""

    attempt: Count
    state: State
    started: Moment
    ended: Moment | None
    exit_code: ExitCode | None
    reason: Phrase | None = None  # why it was stopped, where that is known


class SlurmState(_Record):
    """The job of a run that was submitted to Slurm."""

    job: JobId
    cluster: Name | None = None
    restarts: Count = 0  # how often Slurm had requeued it when this attempt began


class RunState(_Record):
    name: Name
    kind: Literal["rl", "sft"]
    attempt: Annotated[Count, Field(ge=1)]
    state: State
    node: Count | None = None  # rank of the node that this file is of; None: the run has one node
    nodes: Annotated[Count, Field(ge=1)] = 1  # in all
    host: Label
    boot_id: Identity
    started: Moment
    ended: Moment | None = None
    exit_code: ExitCode | None = None
    supervisor: ProcessId | None = None
    guard: ProcessId | None = None
    watcher: ProcessId | None = None  # between guard and supervisor
    grace: Seconds
    progress: ProgressState
    processes: Annotated[list[ProcessState], Field(max_length=MOST_PROCESSES)]
    foreign_wandb: ForeignRuns = []  # what programs that know nothing of us were told to log to
    own_checkpoints: bool = True  # whether the trainer is the reference one, whose checkpoints are the run's
    wandb: bool = False
    tmux_socket: SocketName | None = None
    tmux_session: Label | None = None  # as it was called then; its user may have renamed it
    tmux_keep: bool = False  # whether the session stays when the run has ended
    failure: FailureState | None = None
    reason: Phrase | None = None  # why it was stopped, where that is known: "time limit", "cancelled", "stopped by …"
    slurm: SlurmState | None = None  # None: not submitted to Slurm
    provenance: Provenance = Provenance()
    cwd: Path = Path()  # where the first attempt was typed: what relative paths count from
    run_id: Identity = ""  # kept over the attempts; W&B knows the run by it
    earlier: Annotated[list[AttemptState], Field(max_length=MOST_ATTEMPTS)] = []

    def process(self, name: str) -> ProcessState:
        return next(process for process in self.processes if process.name == name)


def read_state(run: RunDir) -> RunState | None:
    """The run's state; None when there is no run, or its file is not one of ours."""
    try:
        return load_state(run)
    except (OSError, ValueError):
        return None


def load_state(run: RunDir) -> RunState:
    """The run's state. Raises OSError, and ValueError for a file that is not one of ours."""
    content = read_bytes(run.state)
    if not content:
        raise ValueError("empty: its launch is just starting, or was killed then")
    if b"\\udc" not in content:
        return RunState.model_validate_json(content)
    try:
        values = json.loads(content)  # pydantic's own parser takes no bytes that are not UTF-8
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return RunState.model_validate(values)


def state_json(state: RunState) -> str:
    """A byte of a path that is not UTF-8 stands there as `\\udcXX`, as Python reads and writes it."""
    try:
        return state.model_dump_json(indent=1)
    except ValueError:  # not UTF-8
        return json.dumps(state.model_dump(), indent=1, default=str)


def trouble_of(error: OSError | ValueError) -> str:
    """Why run.json cannot be read, in a line."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if not isinstance(error, ValidationError):
        return in_one_line(str(error))[:TROUBLE]
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return in_one_line(f"{where}: {first['msg']}" if where else first["msg"])[:TROUBLE]


def open_run(root: Path) -> tuple[RunDir, RunState]:
    """The run in this directory, seen from its newest attempt, and its state. Raises UserError."""
    run = recorded(root) or RunDir(root)
    try:
        state = load_state(run)
    except (OSError, ValueError) as error:
        raise UserError(f"{run.state}: cannot be read: {trouble_of(error)}") from None
    return RunDir(root, state.attempt, state.node), state


def other_nodes(run: RunDir, state: RunState) -> list[tuple[RunDir, RunState]]:
    """What the other nodes that share the directory have written of this run, by their rank."""
    others = [node for node in nodes_there(run) if node < state.nodes and node != (state.node or 0)]
    found = [(run.on(node), read_state(run.on(node))) for node in others]
    return [(other, its) for other, its in found if its and its.run_id == state.run_id]


def first_state(
    plan: Plan, provenance: Provenance, earlier: RunState | None = None, slurm: SlurmState | None = None
) -> RunState:
    """The state before anything of this attempt has started; `earlier` is that of the attempt before, `slurm` the job
    that makes this one."""
    return RunState(
        name=plan.name,
        kind=plan.kind,
        attempt=plan.run.attempt,
        state="starting",
        node=plan.run.node,
        nodes=plan.node_count,
        host=platform.node(),
        boot_id=boot_id(),
        started=time.time(),
        grace=plan.grace,
        progress=ProgressState(**asdict(plan.progress)),
        processes=[_process_state(spec, plan.run) for spec in plan.processes],
        foreign_wandb=list(plan.foreign_wandb),
        own_checkpoints=plan.own_checkpoints,
        wandb=plan.wandb,
        provenance=provenance,
        cwd=earlier.cwd if earlier else Path.cwd(),
        run_id=plan.run_id,
        earlier=_attempts_before(earlier) if earlier else [],
        slurm=slurm,
    )


def _attempts_before(state: RunState) -> list[AttemptState]:
    if state.state == "queued":  # nothing has been attempted yet
        return state.earlier
    newest = AttemptState(**state.model_dump(include=set(AttemptState.model_fields)))
    return [*state.earlier, newest][-MOST_ATTEMPTS:]


def _process_state(spec: ProcessSpec, run: RunDir) -> ProcessState:
    first = spec.ranks.first if spec.ranks else 0
    ranks = [RankState(rank=rank, log=log) for rank, log in enumerate(spec.rank_logs, first)]
    silent = spec.ranks is not None and spec.ranks.console_is_empty
    return ProcessState(
        name=spec.name,
        log=spec.log,
        log_dir=spec.ranks.directory.parent if spec.ranks and spec.ranks.directory.parent != run.torchrun else None,
        panes=spec.rank_logs if silent else (spec.log,),
        gpus=spec.gpus,
        after=spec.after,
        has_ready_check=spec.ready is not None,
        ranks=ranks,
    )
