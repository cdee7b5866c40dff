"""The sections of a run's configuration that are components, and that of the panes."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from launcher.borders.values import MOST_PORT, SocketName
from launcher.config.base import SmallInt, Switch
from launcher.config.component import ComponentConfig, ServerConfig, TorchrunComponentConfig
from launcher.config.rollout import OrchestratorSettings
from launcher.config.serving import EngineSettings, InferenceSettings
from launcher.config.training import RLTrainerSettings, SFTTrainerSettings
from launcher.config.wandb import WandbSection

MOST_REPLICAS = 64
PORT, CONFIG = "{port}", "{config}"  # the placeholders that tell a program its port


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
        0, ge=0, description="whole nodes for inference, `replicas` servers on each; 0: beside the trainer, on node 0"
    )
    replicas: int = Field(
        1, ge=1, le=MOST_REPLICAS, description="servers on a node: each has its own port and an equal share of `gpus`"
    )

    @model_validator(mode="after")
    def _replicas_are_alike(self) -> Self:
        if self.replicas > 1:
            self._check_shares()
            self._check_own_ports()
        return self

    def _check_shares(self) -> None:
        last = self.port + self.replicas - 1
        if self.gpus is not None and self.gpus % self.replicas:
            raise ValueError(
                f"gpus = {self.gpus} cannot be divided among replicas = {self.replicas}: each server takes as many; "
                "`gpus` is the number for all of them together"
            )
        if self.port and last > MOST_PORT:
            raise ValueError(f"port = {self.port}: replicas = {self.replicas} take the next ones too, up to {last}")

    def _check_own_ports(self) -> None:
        """Raises ValueError if several servers of the user's would listen, or be asked, at one and the same port."""
        words = (*(self.command or ()), *self.args, *self.env.values())
        if not self.is_reference and not any(own in word for word in words for own in (PORT, CONFIG)):
            raise ValueError(
                f"replicas = {self.replicas} starts your program as often, and each needs a port of its own: write "
                f"{PORT} for it in command or args, as in --port {PORT}"
            )
        for name in ("ready", "alive"):
            check = getattr(self, name)
            if check is not None and "://" in check and PORT not in check:
                raise ValueError(
                    f"{name} = {check!r} asks at one address, but replicas = {self.replicas} have a port each: write "
                    f"{PORT} for it"
                )
