"""The plan: what will be started, as frozen data. It is run by the supervisor and rendered by --dry-run and Slurm."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal

from launcher.borders.values import Label, Name, PathText
from launcher.config.wandb import WandbConfig
from launcher.plan.nodes import Nodes
from launcher.rundir import RunDir


@dataclass(frozen=True)
class ForeignRun:
    """The W&B run that a program was told to log to which knows nothing of us, and writes no link."""

    component: Name
    name: Label
    id: Label
    directory: PathText  # where it keeps W&B's files


class Role(Enum):
    """When a component may end."""

    FINISHES = "finishes"  # the run has finished when all of these have exited 0
    SERVES = "serves"  # is there for the others; ending before them is a failure, even with exit 0


@dataclass(frozen=True)
class Machine:
    """What the plan has to know about the host; `launcher.machine.probe` finds it out."""

    python: str
    cwd: Path
    cpus: int = 1
    gpus: tuple[str, ...] = ()  # as CUDA_VISIBLE_DEVICES names them: indices, UUIDs or MIG names
    variables: frozenset[str] = frozenset()  # names of the environment, not their values
    free_port: int = 0
    run_id: str = ""  # a random one, for W&B
    inference_token: str = field(default="", repr=False)  # empty: components are started by hand, and need none
    nodes: Nodes | None = None  # of a run on several
    search_paths: Mapping[str, str] = field(default_factory=dict)  # PATH and PYTHONPATH, where they are set
    torchrun_logs: Path = Path("/launcher/torchrun_logs")  # the folder of that name in our package
    pythons: Mapping[str, str] = field(default_factory=dict)  # component -> its own interpreter, if it has one
    env_files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # component -> what its file has
    wandb: WandbConfig = field(default_factory=WandbConfig)  # what W&B's environment variables ask for
    wandb_login: bool = False  # whether there is a key


@dataclass(frozen=True)
class Ranks:
    """The ranks that torchrun starts on this node, and where their files are."""

    count: int
    shown: tuple[int, ...]  # local ranks whose output reaches the console and the component's log
    directory: Path  # <log-dir>/<rdzv_id>, with attempt_<restart>/<local rank>/{stdout,stderr}.log and error.json
    restarts: int = 0  # how often torchrun itself starts them anew
    console_is_empty: bool = False  # redirected and not teed: only the rank's own files have its output
    first: int = 0  # the global rank of local rank 0
    role: str = "trainer"  # what torchrun writes before the rank's number in front of each line


@dataclass(frozen=True)
class Alive:
    """How a server is asked, once it was ready, whether it still serves."""

    check: str  # http(s):// or tcp://, see launcher.plan.ready
    interval: float  # seconds
    misses: int  # in a row, after which it has failed


@dataclass(frozen=True)
class ProcessSpec:
    """One process below the supervisor. `argv` goes to exec as it is; no shell is involved."""

    name: str
    argv: tuple[str, ...]
    role: Role
    cwd: Path
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()  # variables from a file, whose values are shown nowhere
    unset: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    after: tuple[str, ...] = ()  # the components that must be ready, or at least started, before this one is
    ready: str | None = None  # http(s)://, tcp:// or log:, see launcher.plan.ready
    ready_timeout: float = 600.0  # seconds
    alive: Alive | None = None  # for what SERVES; None: ready once is believed for good
    progress: str | None = None  # regular expression whose names turn log lines into metrics
    ranks: Ranks | None = None  # set for torchrun
    task: str | None = None  # what it learns, module:Class, where it is ours to import
    restarts: int = 0  # how often the supervisor starts it again when it fails; for what SERVES
    may_exit: bool = False  # ending with 0 before the run does is no failure; for what SERVES
    watchdog: float | None = None  # seconds that it may log nothing and make no step
    rank_logs: tuple[Path, ...] = ()  # for each local rank, the file that shows what it does


@dataclass(frozen=True)
class Progress:
    """The metric that says how the run is doing."""

    component: str
    metric: str
    max_steps: int | None  # None: unknown


@dataclass(frozen=True)
class Plan:
    kind: Literal["rl", "sft"]
    name: str
    run: RunDir
    processes: tuple[ProcessSpec, ...]
    files: tuple[tuple[Path, str], ...]  # (path, text) to be written before the start
    progress: Progress
    grace: float  # seconds
    drain_timeout: float  # seconds
    run_id: str = ""  # kept over the attempts
    own_checkpoints: bool = True  # whether the trainer is the reference one, whose checkpoints are the run's
    wandb: bool = False  # whether any component logs to W&B
    foreign_wandb: tuple[ForeignRun, ...] = ()  # what programs that know nothing of us were told to log to
    notes: tuple[str, ...] = ()  # for the user: decisions that were made for them
    nodes: Nodes | None = None  # of a run on several; this is the plan of one of them

    @property
    def node_count(self) -> int:
        return self.nodes.count if self.nodes else 1

    def process(self, name: str) -> ProcessSpec | None:
        """The process of this name."""
        return next((spec for spec in self.processes if spec.name == name), None)

    @property
    def followed(self) -> ProcessSpec:
        """The component whose log the console shows."""
        names = ("orchestrator", "trainer")
        return next((spec for name in names for spec in self.processes if spec.name == name), self.processes[0])
