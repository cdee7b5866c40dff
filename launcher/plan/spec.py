"""The plan: frozen data about all that will be started. The supervisor runs it; --dry-run and Slurm render it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal

from launcher.borders.values import Label, Name, PathText
from launcher.config.progress import headline
from launcher.config.run import Config, Kind, RLConfig, started_processes
from launcher.config.wandb import WandbConfig
from launcher.config.workload import TaskConfig
from launcher.options.comments import Asked
from launcher.plan.memory import ModelSize
from launcher.plan.nodes import Nodes
from launcher.rundir import RunDir


@dataclass(frozen=True)
class ForeignRun:
    """The W&B run of a program that does not use our library, and so writes no link to it."""

    component: Name
    name: Label
    id: Label
    directory: PathText  # of W&B's files


class Role(Enum):
    """When a component may end."""

    FINISHES = "finishes"  # the run has finished when all of these have exited 0
    SERVES = "serves"  # serves the others; ending before them is a failure, even with exit code 0


@dataclass(frozen=True)
class Machine:
    """All facts about the host and the request that the plan needs, from `launcher.machine.probe`."""

    python: str
    cwd: Path
    cpus: int = 1
    gpus: tuple[str, ...] = ()  # as CUDA_VISIBLE_DEVICES names them: indices, UUIDs or MIG names
    gpu_memory: int = 0  # bytes of the smallest GPU; 0 if unknown
    model_path: str = ""  # its directory, or its id on the hub; empty for tiny
    vllm: str | None = None  # the command, for inference's Python
    vllm_access: Path = Path("/launcher/vllm_access")  # the folder of that name in our package
    model: ModelSize | None = None  # of the model that is trained, if it is known here
    chat_template: bool | None = True  # whether the model has one; None if that is not known here
    without_hub: str | None = None  # why model and data set come from the hub's cache, when it cannot be reached
    user: str = "1000:1000"  # UID:GID of who has typed the command
    variables: frozenset[str] = frozenset()  # names of the environment's variables, not their values
    free_port: int = 0
    service_ports: Mapping[str, int] = field(default_factory=dict)  # of services that name none
    run_id: str = ""  # a random one, for W&B
    inference_token: str = field(default="", repr=False)  # empty if components are started by hand
    nodes: Nodes | None = None  # set in a run on several nodes
    search_paths: Mapping[str, str] = field(default_factory=dict)  # PATH and PYTHONPATH, if set
    torchrun_logs: Path = Path("/launcher/torchrun_logs")  # the folder of that name in our package
    pythons: Mapping[str, str] = field(default_factory=dict)  # component -> its own interpreter, if it has one
    env_files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # component -> its env file's variables
    wandb: WandbConfig = field(default_factory=WandbConfig)  # from W&B's environment variables
    wandb_login: bool = False  # whether there is an API key
    asked: Asked = field(default_factory=Asked)  # what was typed


@dataclass(frozen=True)
class OnHub:
    """Something on the Hugging Face hub."""

    kind: Literal["model", "dataset"]
    asked: str  # a model's id; a data set's id, subset and split in JSON

    def __str__(self) -> str:
        return self.asked if self.kind == "model" else str(json.loads(self.asked)[0])


@dataclass(frozen=True)
class Ranks:
    """The ranks that torchrun starts on this node, and where their files are."""

    count: int
    shown: tuple[int, ...]  # local ranks whose output reaches the console and the component's log
    directory: Path  # <log-dir>/<rdzv_id>, with attempt_<restart>/<local rank>/{stdout,stderr}.log and error.json
    restarts: int = 0  # how often torchrun itself restarts them
    console_is_empty: bool = False  # redirected, not teed: the output is only in the ranks' files
    first: int = 0  # the global rank of local rank 0
    role: str = "trainer"  # torchrun's prefix of a line: the role, then the rank
    in_files: tuple[int, ...] = ()  # local ranks whose stdout torchrun writes to the files below `directory`


@dataclass(frozen=True)
class Alive:
    """How a ready server is checked to see whether it still serves."""

    check: str  # http(s):// or tcp://, see launcher.plan.ready
    interval: float  # seconds
    misses: int  # failed checks in a row that make it fail


@dataclass(frozen=True)
class ProcessSpec:
    """One process below the supervisor. `argv` goes to exec as it is; no shell is involved."""

    name: str
    argv: tuple[str, ...]
    role: Role
    cwd: Path
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()  # variables from a file; their values are never shown
    unset: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    after: tuple[str, ...] = ()  # components to wait for: until ready, or else started
    ready: str | None = None  # http(s)://, tcp:// or log:, see launcher.plan.ready
    ready_timeout: float = 600.0  # seconds
    alive: Alive | None = None  # for what SERVES; None: not checked after it was ready
    progress: str | None = None  # regular expression whose names turn log lines into metrics
    ranks: Ranks | None = None  # set for torchrun
    memory: str | None = None  # what it will take of each GPU, where that is known
    tasks: Mapping[str, TaskConfig] = field(default_factory=dict)  # that it loads, by the field that names each
    loss: str | None = None  # of the user's, as module:function
    data: Path | None = None  # the file that it learns
    chat_template: bool | None = None  # whether the run's model has one; None if that is not known
    model_directory: Path | None = None  # of the model that it loads
    on_hub: tuple[OnHub, ...] = ()  # what it reads from the Hugging Face hub
    restarts: int = 0  # how often the supervisor restarts it after a failure; for what SERVES
    may_exit: bool = False  # exit code 0 before the run's end is not a failure; for what SERVES
    watchdog: float | None = None  # seconds without a log line or step that count as a hang
    rank_logs: tuple[Path, ...] = ()  # each local rank's main log


@dataclass(frozen=True)
class Progress:
    """The metric that says how the run is doing."""

    component: str
    metric: str
    max_steps: int | None  # None: unknown

    @classmethod
    def of(cls, config: Config) -> "Progress":
        """The one that the user's program names, or else that of the reference workload."""
        for name in ("orchestrator", "trainer"):
            settings = started_processes(config).get(name)
            if settings and settings.progress:
                return cls(name, headline(settings.progress, settings.progress_metric), settings.progress_total)
        of_rl = isinstance(config, RLConfig) and config.orchestrator.enabled
        known = (("orchestrator", "reward/mean"), ("trainer", "loss"))[0 if of_rl else 1 :]
        for component, metric in known:
            if getattr(config, component).is_reference:
                return cls(component, metric, config.known_steps)
        return cls(*known[0], None)


@dataclass(frozen=True)
class Plan:
    kind: Kind
    name: str
    run: RunDir
    processes: tuple[ProcessSpec, ...]
    files: tuple[tuple[Path, str], ...]  # (path, text) to be written before the start
    progress: Progress
    grace: float  # seconds
    drain_timeout: float  # seconds
    run_id: str = ""  # the same for all attempts
    own_checkpoints: bool = True  # whether the trainer is the reference one, which writes `checkpoints/`
    wandb: bool = False  # whether any component logs to W&B
    foreign_wandb: tuple[ForeignRun, ...] = ()  # W&B runs of programs that do not use our library
    notes: tuple[str, ...] = ()  # for the user: decisions made for them
    nodes: Nodes | None = None  # in a run on several nodes; this is the plan of one of them
    first: tuple[tuple[str, ...], ...] = ()  # commands that must have ended before anything starts
    max_restarts: int = 0  # further attempts after trainer or orchestrator have failed
    weights_dir: Path | None = None  # where weights are published, if not in the run's directory

    @property
    def node_count(self) -> int:
        return self.nodes.launches if self.nodes else 1

    def process(self, name: str) -> ProcessSpec | None:
        """The process of this name."""
        return next((spec for spec in self.processes if spec.name == name), None)

    @property
    def followed(self) -> ProcessSpec:
        """The component whose log the console shows."""
        names = ("orchestrator", "trainer")
        return next((spec for name in names for spec in self.processes if spec.name == name), self.processes[0])
