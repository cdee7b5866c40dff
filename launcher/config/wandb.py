"""What a user may ask of Weights & Biases."""

from pydantic import Field

from launcher.config.base import Section, Switch


class LogExtrasConfig(Switch):
    """Tables beside the scalar metrics."""

    enabled: bool = Field(True, description="log samples and distributions as tables")
    samples: bool = Field(True, description="log prompts, completions, rewards and advantages")
    distributions: bool = Field(True, description="log the distributions of reward, advantage and entropy")
    interval: int = Field(10, ge=1, description="log them every so many steps")


class WandbConfig(Switch):
    enabled: bool = Field(False, description="log to Weights & Biases")
    project: str = Field("prime-rl", description="project")
    name: str | None = Field(None, description="name of the W&B run; default: the run's own name")
    log_extras: LogExtrasConfig = LogExtrasConfig()


class WandbSection(Section):
    """Mixed into whatever logs metrics of its own."""

    wandb: WandbConfig = WandbConfig()
