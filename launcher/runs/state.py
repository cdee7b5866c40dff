"""run.json: everything that is known about a run."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from launcher.borders.files import read_bytes
from launcher.borders.screen import in_one_line
from launcher.borders.values import (
    MOST_ATTEMPTS,
    MOST_PROCESSES,
    MOST_RANKS,
    Attempt,
    Count,
    DnsLabel,
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
from launcher.config.run import Kind
from launcher.errors import UserError
from launcher.machine.provenance import Provenance
from launcher.plan.spec import ForeignRun
from launcher.processes.identity import ProcessId
from launcher.rundir import RunDir
from launcher.runs.registry import nodes_there, recorded

Ender = Literal["launch", "torchrun"]


TROUBLE = 300  # characters of the reason why run.json cannot be read


Panes = Annotated[tuple[LocalPath, ...], Field(max_length=MOST_RANKS), FailFast()]
Names = Annotated[tuple[Name, ...], Field(max_length=MOST_PROCESSES), FailFast()]
Labels = Annotated[tuple[Label, ...], Field(max_length=MOST_PROCESSES), FailFast()]
Spares = Annotated[tuple[Count, ...], Field(max_length=MOST_RANKS), FailFast()]
LocalRanks = Annotated[tuple[Count, ...], Field(max_length=MOST_RANKS), FailFast()]
ForeignRuns = Annotated[list[ForeignRun], Field(max_length=MOST_PROCESSES)]
State = Literal["queued", "starting", "running", "stopping", "finished", "failed", "stopped"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, defer_build=True)  # a newer launch may add fields


class RankState(_Record):
    rank: Count  # global rank
    log: LocalPath  # its main log
    process: ProcessId | None = None
    exit_code: ExitCode | None = None
    ended_by: Ender | None = None  # None: it ended by itself, or still runs


class TorchrunState(_Record):
    """Where the lines of torchrun's ranks are. Ranks are local here."""

    directory: LocalPath  # <log-dir>/<rdzv_id>, with attempt_<restart>/<rank>/{stdout,stderr}.log
    role: Label  # the prefix of a rank's lines in the component's log
    shown: LocalRanks  # those whose lines are there
    in_files: LocalRanks  # those whose stdout is in the files


class ProcessState(_Record):
    name: Name
    log: LocalPath
    log_dir: LocalPath | None = None  # torchrun's, if the user named one
    panes: Panes = ()  # files for tmux panes: its log, or its ranks' if the log stays empty
    gpus: Labels = ()
    process: ProcessId | None = None
    after: Names = ()  # components to wait for: until ready, or else started
    has_ready_check: bool = False
    ready_after: Seconds | None = None  # None if it is not ready or has no check
    exit_code: ExitCode | None = None
    ended_by: Ender | None = None
    restarts: Count = 0  # in this attempt, servers and services: since their first start
    restarted: Phrase | None = None  # why, the last time
    torchrun: TorchrunState | None = None  # None: it is not started by torchrun
    ranks: Annotated[list[RankState], Field(max_length=MOST_RANKS)] = []


class ProgressState(_Record):
    """The component and metric that show the run's progress."""

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
    node: Count | None = None  # set in a run on several nodes
    host: Label | None = None


class VerdictState(_Record):
    """What was decided after an attempt had failed: see launcher.failure.verdict."""

    kind: Phrase
    again: bool
    why: Phrase
    seconds: Seconds
    text: Phrase
    decided: Moment


class AttemptState(_Record):
    """An attempt that has ended."""

    attempt: Count
    state: State
    started: Moment
    ended: Moment | None
    exit_code: ExitCode | None
    reason: Phrase | None = None  # why it was stopped, if known
    verdict: VerdictState | None = None  # what was decided after it had failed


class SlurmState(_Record):
    """The job of a run that was submitted to Slurm."""

    job: JobId
    cluster: Name | None = None
    restarts: Count = 0  # how often Slurm had requeued it before this attempt


class K8sState(_Record):
    """The JobSet of a run that was submitted to Kubernetes."""

    job: DnsLabel
    namespace: DnsLabel = ""
    context: Label | None = None  # kubectl's, where the run was submitted
    restarts: Count = 0  # how often JobSet had started all pods anew before this attempt
    retries: bool = False  # whether it, or Kueue, may start a run that has ended again


JobState = SlurmState | K8sState


class RunState(_Record):
    name: Name
    kind: Kind
    attempt: Attempt
    state: State
    node: Count | None = None  # rank of this file's node; None: the run has one node
    nodes: Annotated[Count, Field(ge=1)] = 1  # all launches, spares and lost ones included
    places: Count = 0  # nodes that this attempt runs on; 0: an older launch, all
    spares: Spares = ()  # nodes that wait
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
    foreign_wandb: ForeignRuns = []  # W&B runs of programs that do not use our library
    own_checkpoints: bool = True  # whether the trainer is the reference one, which writes `checkpoints/`
    wandb: bool = False
    tmux_socket: SocketName | None = None
    tmux_session: Label | None = None  # its first name; the user may have renamed it
    tmux_keep: bool = False  # whether the session stays after the run
    tmux_each_rank: bool = False  # whether each rank has a pane of its own
    failure: FailureState | None = None
    verdict: VerdictState | None = None  # this attempt has failed, and there is another one or none
    reason: Phrase | None = None  # why it was stopped, if known: "time limit", "cancelled", "stopped by …"
    slurm: SlurmState | None = None  # None: not submitted to Slurm
    k8s: K8sState | None = None  # None: not submitted to Kubernetes
    provenance: Provenance = Field(default_factory=Provenance)
    cwd: Path = Path()  # where the first attempt was typed; relative paths start here
    run_id: Identity = ""  # the same for all attempts; part of the W&B ids
    earlier: Annotated[list[AttemptState], Field(max_length=MOST_ATTEMPTS)] = []

    @property
    def job(self) -> JobState | None:
        """The job elsewhere that carries out the run. None: it was started here."""
        return self.slurm or self.k8s

    def put_job(self, job: JobState | None) -> None:
        self.slurm = job if isinstance(job, SlurmState) else None
        self.k8s = job if isinstance(job, K8sState) else None

    def process(self, name: str) -> ProcessState:
        return next(process for process in self.processes if process.name == name)

    def own_processes(self) -> dict[str, ProcessId | None]:
        """launch's own processes, by name."""
        return {"supervisor": self.supervisor, "watcher": self.watcher, "guard": self.guard}

    def component_processes(self) -> dict[str, ProcessId]:
        """The processes of components and ranks that have been started, by name: "trainer", "trainer rank 0"…"""
        found = {process.name: process.process for process in self.processes}
        for process in self.processes:
            found |= {f"{process.name} rank {rank.rank}": rank.process for rank in process.ranks}
        return {name: process for name, process in found.items() if process}


def read_state(run: RunDir) -> RunState | None:
    """The run's state. None if there is no run, or its file is invalid."""
    try:
        return load_state(run)
    except (OSError, ValueError):
        return None


def load_state(run: RunDir) -> RunState:
    """The run's state. Raises OSError, and ValueError for an invalid file."""
    content = read_bytes(run.state)
    if not content:
        raise ValueError("empty: its launch is just starting, or was killed while starting")
    if b"\\udc" not in content:
        return RunState.model_validate_json(content)
    try:
        values = json.loads(content)  # pydantic's own parser accepts only UTF-8
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return RunState.model_validate(values)


def state_json(state: RunState) -> str:
    """The state as JSON. A path's non-UTF-8 byte is written as `\\udcXX`, as in Python."""
    try:
        return state.model_dump_json(indent=1)
    except ValueError:  # not UTF-8
        return json.dumps(state.model_dump(), indent=1, default=str)


def trouble_of(error: OSError | ValueError) -> str:
    """Why run.json cannot be read, in one line."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if not isinstance(error, ValidationError):
        return in_one_line(str(error))[:TROUBLE]
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return in_one_line(f"{where}: {first['msg']}" if where else first["msg"])[:TROUBLE]


def open_run(root: Path) -> tuple[RunDir, RunState]:
    """The run in this directory, at its newest attempt, and its state. Raises UserError."""
    run = recorded(root) or RunDir(root)
    try:
        state = load_state(run)
    except (OSError, ValueError) as error:
        raise UserError(f"{run.state}: cannot be read: {trouble_of(error)}") from None
    return RunDir(root, state.attempt, state.node), state


def other_nodes(run: RunDir, state: RunState) -> list[tuple[RunDir, RunState]]:
    """The states that other nodes have written in this directory, sorted by node rank."""
    others = [node for node in nodes_there(run) if node < state.nodes and node != (state.node or 0)]
    found = [(run.on(node), read_state(run.on(node))) for node in others]
    return [(other, its) for other, its in found if its and its.run_id == state.run_id]
