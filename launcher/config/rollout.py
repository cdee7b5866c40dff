"""Settings of the reference orchestrator."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from launcher.borders.values import MOST_PORT, NAME, whole_number
from launcher.config.base import Duration, LargeInt, Section, SmallInt
from launcher.config.serving import EngineName
from launcher.config.wandb import WandbSection
from launcher.config.workload import Handed, ModelConfig, TaskConfig, TaskName

_URL = re.compile(
    r"https?://([^\s/?#@]+@)?(\[[0-9A-Fa-f:.%]+\]|[^\s/?#@:\[\]]+)(:(?P<port>\d+|PORT(\+\d+)?))?(/[^\s?#]*)?"
)
"""PORT: in a plan, the port of another node before that has joined; PORT+1 that of its next server."""

Advantage = Literal["std", "mean"]


class SamplingConfig(Section):
    temperature: float = Field(1.0, gt=0, le=2, description="temperature of the samples that are trained on")
    max_tokens: SmallInt = Field(8, ge=1, description="longest completion, in tokens")


def _set_name(name: str) -> str:
    """It becomes a part of the metrics' names, and the task's own evaluation has none."""
    if not re.fullmatch(NAME, name):
        raise ValueError(
            f"{name!r} names no set: a name has letters, digits, '-', '_' and '.', at most 63, and starts with a "
            "letter or digit, such as aime=aime.jsonl"
        )
    return name


SetName = Annotated[str, AfterValidator(_set_name)]


class EvaluationConfig(Section):
    prompts: LargeInt = Field(128, ge=1, description="held-out prompts in an evaluation")
    interval: LargeInt = Field(50, ge=0, description="steps between evaluations; 0: only at the start and the end")
    samples: SmallInt = Field(
        1, ge=1, description="samples for each prompt; 1 takes the likeliest completion, more are drawn for pass@k"
    )
    sets: dict[SetName, TaskName] = Field(
        {},
        description="further files or tasks to evaluate on, as NAME=FILE; `prompts` of each, with the task's reward",
    )

    def tasks(self, own: TaskConfig) -> dict[str, TaskConfig]:
        """The task of each set, by its name."""
        settings = {"reward": own.reward, "reward_timeout": own.reward_timeout}
        found = {name: TaskConfig(name=file, **settings) for name, file in self.sets.items()}
        renderer = {"renderer": own.args["renderer"]} if "renderer" in own.args else {}  # it belongs to the model
        return {
            name: task.model_copy(update={"args": renderer}) if task.environment else task
            for name, task in found.items()
        }


def _urls(text: str) -> str:
    for url in (url.strip() for url in text.split(",")):
        found = _URL.fullmatch(url)
        port = (found and found["port"]) or "PORT"
        if found is None or (port[:4] != "PORT" and not whole_number(port, MOST_PORT)):
            raise ValueError(f"{url!r} is no server's URL; write http://HOST:PORT, and a comma between several")
    return text


class OrchestratorSettings(WandbSection):
    inference_url: Annotated[str, AfterValidator(_urls)] | None = Field(
        None, description="URL[,URL...] of servers that already run; needs --no-inference"
    )
    prompts_per_step: LargeInt = Field(32, ge=1, description="prompts in a step")
    samples_per_prompt: LargeInt = Field(
        16, ge=2, description="samples for each prompt; advantages are relative to this group"
    )
    resample: SmallInt = Field(
        0,
        ge=0,
        description="draw other groups in place of those without signal (all rewards equal), at most so many times "
        "prompts_per_step in a step (DAPO)",
    )
    max_in_flight: LargeInt = Field(256, ge=1, description="most groups that the servers are asked for at a time")
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    advantage: Advantage = Field(
        "std", description="unit of the advantages: the group's standard deviation (GRPO), or the reward (Dr. GRPO)"
    )
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    inference_timeout: Duration = Field(
        600.0, gt=0, description="how long to wait for a server to answer, at the start or after it was lost"
    )
    weights_timeout: Duration = Field(600.0, gt=0, description="how long to wait for the trainer's weights")


class OrchestratorConfig(OrchestratorSettings, Handed):
    max_steps: LargeInt = Field(140, ge=1, description="batches handed to the trainer")
    max_async: LargeInt = Field(1, ge=0, description="how many updates old the sampling policy may be")
    task: TaskConfig = Field(default_factory=TaskConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    model_name: str = Field("policy", description="the model to ask the server for")
    engine: EngineName = Field("builtin", description="what the server is, which says how it loads weights")
