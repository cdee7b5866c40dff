"""Settings of Weights & Biases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from launcher.config.base import Duration, LargeInt, Section, Switch
from launcher.errors import UserError

Mode = Literal["online", "offline", "disabled"]


class LogExtrasConfig(Switch):
    """Tables beside the scalar metrics."""

    enabled: bool = Field(True, description="log samples and distributions as tables")
    samples: bool = Field(True, description="log prompts, completions, rewards and advantages")
    distributions: bool = Field(True, description="log the distributions of reward, advantage and entropy")
    interval: LargeInt = Field(10, ge=1, description="steps between two tables")


class WandbConfig(Switch):
    enabled: bool = Field(False, description="log to Weights & Biases")
    entity: str | None = Field(None, description="user or team that owns the project; default: the login's own")
    project: str = Field("prime-rl", description="W&B project")
    name: str | None = Field(None, description="name of the W&B run; default: the run's own name")
    group: str | None = Field(None, description="group of the W&B run; default in RL: the run's name")
    job_type: str | None = Field(None, description="job type of the W&B run; default in RL: the component's name")
    tags: tuple[str, ...] = Field((), description="tags of the W&B run")
    notes: str | None = Field(None, description="a longer description of the W&B run")
    mode: Mode | None = Field(None, description="W&B's mode; default: online, or offline without a login")
    id: str | None = Field(None, pattern=r"^[^:;,#?/'\s]+$", description="id of a W&B run to continue")
    dir: Path | None = Field(None, description="directory for W&B's own files; default: the run's directory")
    base_url: str | None = Field(None, pattern=r"^https?://", description="the W&B server; default: W&B's cloud")
    init_timeout: Duration = Field(
        30.0, gt=0, description="how long W&B may take to start; after that the run is logged offline"
    )
    finish_timeout: Duration = Field(60.0, gt=0, description="how long the last upload may take at the end")
    log_extras: LogExtrasConfig = Field(default_factory=LogExtrasConfig)

    @property
    def is_on(self) -> bool:
        """Whether there is a W&B run at all."""
        return self.enabled and self.mode != "disabled"


class WandbSection(Section):
    """For components that log their own metrics."""

    wandb: WandbConfig = Field(default_factory=WandbConfig)


# --- W&B's own variables ----------------------------------------------------------------------------------------------

VARIABLES = {
    "entity": "WANDB_ENTITY",
    "project": "WANDB_PROJECT",
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "tags": "WANDB_TAGS",
    "notes": "WANDB_NOTES",
    "mode": "WANDB_MODE",
    "id": "WANDB_RUN_ID",
    "dir": "WANDB_DIR",
    "base_url": "WANDB_BASE_URL",
}
"""The field that each of W&B's environment variables sets where the configuration does not."""

_MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}


def over_environment(config: WandbConfig, environ: Mapping[str, str]) -> WandbConfig:
    """`config`, with what it does not set taken from W&B's environment variables.

    Raises:
        UserError: one of the variables has a value that W&B does not take.
    """
    found: dict[str, Any] = {field: environ[name] for field, name in VARIABLES.items() if environ.get(name)}
    if "tags" in found:
        found["tags"] = [tag.strip() for tag in found["tags"].split(",")]
    if "mode" in found:
        found["mode"] = _known_mode(found["mode"])
    try:
        return config.over(WandbConfig(**found)) if found else config
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{VARIABLES[str(first['loc'][0])]}: {first['msg']}") from None


def _known_mode(mode: str) -> str:
    if mode not in _MODES:
        raise UserError(f"WANDB_MODE={mode} is not supported", "allowed: online, offline, disabled")
    return _MODES[mode]
