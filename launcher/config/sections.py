"""The sections of a run's configuration that are components, and that of the panes."""

from typing import ClassVar, Literal

from pydantic import Field

from launcher.borders.values import SocketName
from launcher.config.base import SmallInt, Switch
from launcher.config.component import ComponentConfig, ServerConfig, TorchrunComponentConfig
from launcher.config.rollout import OrchestratorSettings
from launcher.config.serving import EngineSettings, InferenceSettings
from launcher.config.training import RLTrainerSettings, SFTTrainerSettings
from launcher.config.wandb import WandbSection


class TmuxConfig(Switch):
    enabled: bool = Field(True, description="show the logs in tmux panes")
    each_rank: bool = Field(False, description="a pane for each rank, instead of one that folds what they log alike")
    keep: bool = Field(False, description="keep the session after the run, even when nobody is attached")
    socket_name: SocketName | None = Field(None, description="tmux server, as in tmux -L; default: the user's own")


class Trainer(TorchrunComponentConfig, WandbSection):
    """`[trainer]` of `launch train`."""


class SFTTrainer(TorchrunComponentConfig, SFTTrainerSettings):
    """`[trainer]` of `launch sft`."""


class RLTrainer(TorchrunComponentConfig, RLTrainerSettings):
    """`[trainer]` of `launch rl`."""


class Orchestrator(ComponentConfig, OrchestratorSettings, Switch):
    """`[orchestrator]`"""

    enabled: bool = Field(True, description="start an orchestrator")
    beside: Literal["trainer", "inference"] = Field(
        "trainer", description="with several nodes: whether it runs on the trainer's first node or on inference's"
    )


class Inference(ServerConfig, InferenceSettings, EngineSettings, Switch):
    """`[inference]`"""

    needs_own_program: ClassVar[tuple[str, ...]] = ("progress",)  # vLLM may have its own Python

    enabled: bool = Field(True, description="start an inference server")
    takes_weights: bool = Field(
        False, description="your own server loads new weights at /update_weights, like the reference one"
    )
    nodes: SmallInt = Field(
        0, ge=0, description="whole nodes for inference, one server on each; 0: beside the trainer, on node 0"
    )
