"""How a component is started: the reference workload, or whatever the user names instead."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from launcher.borders.values import MOST_STEPS
from launcher.config.base import Duration, Section, SmallInt
from launcher.config.progress import ProgressPattern, headline
from launcher.config.torchrun import TorchrunConfig


class ProcessConfig(Section):
    """What any process below the supervisor may be given."""

    command: tuple[str, ...] | None = Field(None, description="the whole command line, in place of the reference one")
    args: tuple[str, ...] = Field((), description="arguments added at the end of the command line")
    cwd: Path | None = Field(None, description="working directory; default: where launch was typed")
    python: Path | None = Field(
        None, description="its Python, an interpreter or a virtual environment; default: the one that runs launch"
    )
    env: dict[str, str] = Field({}, description="additions to the environment, KEY=VALUE")
    env_file: Path | None = Field(None, description="file with further additions, a KEY=VALUE a line; env wins over it")
    after: tuple[str, ...] = Field(
        (), description="components that must be ready, or started if they have no `ready`, before this one is started"
    )
    ready: str | None = Field(
        None,
        description="tells that it can be used: http://… answers, tcp://HOST:PORT is open, log:REGEX is logged",
    )
    ready_timeout: Duration = Field(600.0, gt=0, description="how long it may take to become ready")
    watchdog: Duration | None = Field(
        None, gt=0, description="fail the run when this logs nothing and makes no step for so long"
    )
    progress: ProgressPattern | None = Field(
        None,
        description="regular expression whose names turn log lines into metrics; without a `step` lines are counted",
    )
    progress_metric: str | None = Field(None, description="the name that says how it is doing; default: the first one")
    progress_total: int | None = Field(None, ge=1, le=MOST_STEPS, description="steps in all; default: unknown")

    @model_validator(mode="after")
    def _has_its_headline(self) -> Self:
        if self.progress is not None:
            headline(self.progress, self.progress_metric)
        return self


class LastingConfig(ProcessConfig):
    """What is there for the others until the run ends."""

    alive: str | None = Field(
        None,
        description="tells, after it was ready, that it still serves: http://…, tcp://HOST:PORT, or off; "
        "default: `ready`, unless that is a log line",
    )
    alive_interval: Duration = Field(
        10.0, gt=0, le=86400, description="how often that is asked, and how long an answer may take"
    )
    alive_misses: SmallInt = Field(3, ge=1, description="how many misses in a row are a failure")
    restart: Literal["never", "on-failure"] = Field(
        "never", description="start it again when it fails after it was ready once, with the run going on"
    )
    restart_limit: SmallInt = Field(3, ge=1, description="how often it is started again, over the whole run")

    @property
    def restarts(self) -> int:
        """How often a failure may be answered by another start."""
        return self.restart_limit if self.restart == "on-failure" else 0


class ComponentConfig(ProcessConfig):
    module: str | None = Field(None, description="Python module to run in place of the reference one")
    script: Path | None = Field(None, description="Python script to run in place of the reference module")

    @model_validator(mode="after")
    def _one_program(self) -> Self:
        named = [name for name in ("module", "script", "command") if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} are both set; name one program")
        foreign = [name for name in ("python", "progress") if getattr(self, name) is not None]
        if not named and foreign:
            raise ValueError(f"{foreign[0]} is for a program of your own; name it with module, script or command")
        return self

    @property
    def is_reference(self) -> bool:
        """Whether the component is the one that comes with launch."""
        return self.module is None and self.script is None and self.command is None


class TorchrunComponentConfig(ComponentConfig):
    nproc: SmallInt | None = Field(
        None,
        ge=1,
        le=4096,
        description="ranks per node; default: the GPUs that inference leaves, or 1 on a machine without",
    )
    torchrun: TorchrunConfig = Field(default_factory=TorchrunConfig)


class ServerConfig(ComponentConfig, LastingConfig):
    gpus: SmallInt = Field(1, ge=0, description="GPUs the server gets, after the trainer's")
    share_gpus: bool = Field(False, description="allow the server to sit on the trainer's GPUs")


class ServiceConfig(LastingConfig):
    """`[services.NAME]`: a further process under the same supervision."""

    command: tuple[str, ...] = Field(..., description="the command line")
    gpus: SmallInt = Field(0, ge=0, description="GPUs the service gets, after all others")
    may_exit: bool = Field(False, description="ending with exit code 0 before the run does is no failure")
