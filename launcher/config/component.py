"""How a component is started: as the reference workload, or as a program that the user names."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from launcher.borders.values import MOST_PORT, MOST_RANKS, MOST_STEPS, whole_number
from launcher.config.base import Duration, Interpreter, ProgramPath, Section, SmallInt
from launcher.config.progress import ProgressPattern, headline
from launcher.config.torchrun import TorchrunConfig


class ProcessConfig(Section):
    """Settings that every process of a run has."""

    command: tuple[str, ...] | None = Field(None, description="the whole command line, in place of the reference one")
    args: tuple[str, ...] = Field((), description="arguments added at the end of the command line")
    resume_args: tuple[str, ...] = Field(
        (), description="arguments added after them on launch resume, after a restart of the run, and after a requeue"
    )
    cwd: Path | None = Field(None, description="working directory; default: where launch was typed")
    python: Interpreter | None = Field(
        None, description="Python interpreter or virtual environment to use; default: the one that runs launch"
    )
    env: dict[str, str] = Field({}, description="additions to the environment, KEY=VALUE")
    env_file: Path | None = Field(None, description="file with more of them, one KEY=VALUE per line; env wins over it")
    after: tuple[str, ...] = Field(
        (), description="components to wait for: until they are ready, or only started if they have no `ready`"
    )
    ready: str | None = Field(
        None,
        description="how to tell that it is ready: http://… answers, tcp://HOST:PORT is open, log:REGEX is logged",
    )
    ready_timeout: Duration = Field(600.0, gt=0, description="how long it may take to become ready")
    watchdog: Duration | None = Field(
        None, gt=0, description="fail the run when this component logs nothing and makes no step for this time"
    )
    progress: ProgressPattern | None = Field(
        None,
        description="regular expression for log lines; its named groups are metrics; without a `step` it counts lines",
    )
    progress_metric: str | None = Field(
        None, description="the metric to show in status; default: the first named group"
    )
    progress_total: int | None = Field(None, ge=1, le=MOST_STEPS, description="total number of steps; default: unknown")

    @field_validator("command")
    @classmethod
    def _names_a_program(cls, command: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if command is not None and not "".join(command[:1]):
            raise ValueError("is empty; name a program")
        return command

    @model_validator(mode="after")
    def _has_its_headline(self) -> Self:
        if self.progress is not None:
            headline(self.progress, self.progress_metric)
        return self


class LastingConfig(ProcessConfig):
    """A server or service: it runs until the run ends."""

    alive: str | None = Field(
        None,
        description="how to tell later that it still serves: http://…, tcp://HOST:PORT, or off; "
        "default: `ready`, unless that is a log line",
    )
    alive_interval: Duration = Field(
        10.0, gt=0, le=86400, description="time between two such checks, and the timeout of each"
    )
    alive_misses: SmallInt = Field(3, ge=1, description="failed checks in a row that count as a failure")
    restart: Literal["never", "on-failure"] = Field(
        "never", description="whether it is restarted, without ending the run, when it fails after it was ready"
    )
    restart_limit: SmallInt = Field(3, ge=1, description="maximum number of restarts in the whole run")

    @property
    def restarts(self) -> int:
        """How many times it may be restarted after a failure."""
        return self.restart_limit if self.restart == "on-failure" else 0


class ComponentConfig(ProcessConfig):
    needs_own_program: ClassVar[tuple[str, ...]] = ("python", "progress")

    module: str | None = Field(None, description="Python module to run in place of the reference one")
    script: ProgramPath | None = Field(None, description="Python script to run in place of the reference module")

    @model_validator(mode="after")
    def _one_program(self) -> Self:
        named = [name for name in ("module", "script", "command") if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} are both set; name one program")
        foreign = [name for name in self.needs_own_program if getattr(self, name) is not None]
        if not named and foreign:
            raise ValueError(f"{foreign[0]} is for your own program; name it with module, script or command")
        return self

    @property
    def has_program(self) -> bool:
        return self.module is not None or self.script is not None or self.command is not None

    @property
    def is_reference(self) -> bool:
        """Whether the component is the one that comes with launch."""
        return not self.has_program


NprocWord = Literal["gpu", "auto", "cpu"]


def _nproc(value: Any) -> Any:
    if value is None or value in ("gpu", "auto", "cpu"):
        return value
    number = whole_number(value, MOST_RANKS) if isinstance(value, str) else value
    if type(number) is not int or not 1 <= number <= MOST_RANKS:
        raise ValueError(f"must be a whole number from 1 to {MOST_RANKS}, or gpu, cpu or auto")
    return number


class TorchrunComponentConfig(ComponentConfig):
    nproc: Annotated[int | NprocWord | None, BeforeValidator(_nproc, json_schema_input_type=int | NprocWord | None)] = (
        Field(
            None,
            description="ranks per node, or gpu (one for each GPU that inference does not take), cpu (one for each "
            "CPU, without GPUs) or auto (gpu if there is one); default: gpu, or 1 without GPUs",
        )
    )
    torchrun: TorchrunConfig = Field(default_factory=TorchrunConfig)

    @model_validator(mode="after")
    def _torchrun_can_start_it(self) -> Self:
        without = [name for name in ("no_python", "run_path") if getattr(self.torchrun, name)]
        if without and self.module is not None and self.script is None:
            raise ValueError(f"--{without[0].replace('_', '-')} and -m exclude each other: a module needs Python")
        if without and self.script is None:
            raise ValueError(f"torchrun.{without[0]} is for a script of yours; name it with script")
        if len(without) > 1:
            raise ValueError("torchrun.no_python and torchrun.run_path are both set; run_path is for Python")
        return self


class ServerConfig(ComponentConfig, LastingConfig):
    gpus: SmallInt | None = Field(
        None,
        ge=0,
        description="GPUs for the servers, after the trainer's; default: 1 each, or as many as its vLLM needs",
    )
    share_gpus: bool = Field(False, description="let the server use the trainer's GPUs")
    gpus_first: bool = Field(False, description="the servers get the first GPUs, and the trainer those after them")


class ServiceConfig(LastingConfig):
    """`[services.NAME]`: a further process under the same supervision."""

    command: tuple[str, ...] = Field(..., description="the command line")
    port: int = Field(
        0, ge=0, le=MOST_PORT, description="what {services.NAME.port} stands for; 0 takes a free port for each run"
    )
    gpus: SmallInt = Field(0, ge=0, description="GPUs for the service, after all others")
    share_gpus: bool = Field(False, description="let the service use the trainer's GPUs: all, or as many as gpus says")
    may_exit: bool = Field(False, description="it may end with exit code 0 before the run does")
