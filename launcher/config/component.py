"""How a component is started: the reference workload, or whatever the user names instead."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from launcher.config.base import Duration, Section
from launcher.config.torchrun import TorchrunConfig


class ProcessConfig(Section):
    """What any process below the supervisor may be given."""

    command: tuple[str, ...] | None = Field(None, description="the whole command line, in place of the reference one")
    args: tuple[str, ...] = Field((), description="arguments added at the end of the command line")
    cwd: Path | None = Field(None, description="working directory; default: where launch was typed")
    env: dict[str, str] = Field({}, description="additions to the environment, KEY=VALUE")
    ready: str | None = Field(None, description="URL that answers 200 once the process can be used")
    ready_timeout: Duration = Field(600.0, gt=0, description="how long it may take to become ready")


class ComponentConfig(ProcessConfig):
    module: str | None = Field(None, description="Python module to run in place of the reference one")
    script: Path | None = Field(None, description="Python script to run in place of the reference module")

    @model_validator(mode="after")
    def _one_program(self) -> Self:
        named = [name for name in ("module", "script", "command") if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} are both set; name one program")
        return self

    @property
    def is_reference(self) -> bool:
        """Whether the component is the one that comes with launch."""
        return self.module is None and self.script is None and self.command is None


class TorchrunComponentConfig(ComponentConfig):
    nproc: int | None = Field(
        None, ge=1, description="ranks per node; default: the GPUs that inference leaves, or 1 on a machine without"
    )
    torchrun: TorchrunConfig = TorchrunConfig()


class ServerConfig(ComponentConfig):
    gpus: int = Field(1, ge=0, description="GPUs the server gets, after the trainer's")
    share_gpus: bool = Field(False, description="allow the server to sit on the trainer's GPUs")


class ServiceConfig(ProcessConfig):
    """`[services.NAME]`: a further process under the same supervision."""

    command: tuple[str, ...] = Field(..., description="the command line")
    gpus: int = Field(0, ge=0, description="GPUs the service gets, after all others")
