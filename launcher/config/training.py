"""Settings of the reference trainers."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from launcher.config.base import Duration, LargeInt, Section, SmallInt
from launcher.config.wandb import WandbSection
from launcher.config.workload import TINY, Handed, ModelConfig, TaskConfig

Schedule = Literal["constant", "cosine", "linear"]
Sharding = Literal["fsdp", "ddp"]
RATE_OF_TINY, EXPLORATION_OF_TINY = 3e-3, 0.02
FASTER_ADAPTERS = 10  # LoRA's learning rate, of that of the whole model (Schulman et al., LoRA Without Regret, 2025)


class OptimizerConfig(Section):
    lr: float | None = Field(
        None,
        gt=0,
        description="AdamW's learning rate after the warm-up; default: 3e-3 for tiny; for other models 1e-6 in RL and "
        "1e-5 in SFT, ten times as much for adapters",
    )
    warmup_steps: LargeInt = Field(10, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's first moment decay")
    beta2: float = Field(0.99, ge=0, lt=1, description="AdamW's second moment decay")
    schedule: Schedule = Field(
        "constant", description="the learning rate after the warm-up: constant, or down to 0 at the last step"
    )
    max_norm: float = Field(1.0, gt=0, description="largest gradient norm; larger gradients are scaled down")


class CheckpointConfig(Section):
    interval: LargeInt = Field(50, ge=0, description="steps between checkpoints; 0 writes only the last one")
    keep: SmallInt = Field(2, ge=1, description="number of newest checkpoints to keep")


class LoraConfig(Section):
    rank: SmallInt = Field(
        0, ge=0, description="rank of the adapters that are trained in place of the weights; 0: none"
    )
    alpha: SmallInt | None = Field(None, ge=1, description="their scale is alpha / rank; default: twice the rank")


class TrainerSettings(WandbSection):
    model: ModelConfig = Field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    parallel: Sharding = Field("fsdp", description="several ranks: weights sharded (FSDP2), or a copy on each (DDP)")
    max_tokens: LargeInt = Field(
        16_384, ge=1, description="tokens that go through the model at once on a rank; larger batches are accumulated"
    )
    activation_checkpointing: bool = Field(
        False,
        description="keep only the inputs of decoder layers and recompute the rest: less memory, slower",
    )
    compile: bool = Field(False, description="compile the decoder layers with torch.compile")
    lora: LoraConfig = Field(default_factory=LoraConfig)

    usual_rate: ClassVar[float]  # for a model that has been trained before

    @property
    def highest_rate(self) -> float:
        """The learning rate after the warm-up."""
        if self.optimizer.lr is not None:
            return self.optimizer.lr
        if self.model.name == TINY:
            return RATE_OF_TINY
        return self.usual_rate * (FASTER_ADAPTERS if self.lora.rank else 1)


class PolicyLossConfig(Section):
    clip_low: float = Field(0.2, gt=0, lt=1, description="importance ratios below 1 - clip_low are clipped")
    clip_high: float = Field(0.28, gt=0, description="importance ratios above 1 + clip_high are clipped")
    entropy: float | None = Field(
        None, ge=0, description="weight of the entropy bonus; default: 0.02 for tiny, 0 for other models"
    )
    exploration: float | None = Field(
        None,
        ge=0,
        description="weight of the term that keeps every token possible; default: 0.02 for tiny, 0 for other models",
    )
    normalise: Literal["tokens", "sequences"] = Field(
        "tokens", description="the loss is the mean over all tokens, or over the samples' means"
    )
    truncate: float = Field(
        0.0, ge=0, description="importance ratios above this are truncated, and none is clipped; 0 clips"
    )
    kl: float = Field(0.0, ge=0, description="weight of the KL divergence to the model that the run starts from")
    target: str | None = Field(None, description="a loss of yours as module:function, in place of the clipped ratios")


class RLTrainerSettings(TrainerSettings):
    loss: PolicyLossConfig = Field(default_factory=PolicyLossConfig)
    batch_timeout: Duration = Field(600.0, gt=0, description="how long to wait for the orchestrator's next batch")

    usual_rate = 1e-6

    @property
    def whole_loss(self) -> PolicyLossConfig:
        """The loss, with the weights that were not given: tiny begins with random weights, and has to explore."""
        usual = EXPLORATION_OF_TINY if self.model.name == TINY else 0.0
        given = {"entropy": self.loss.entropy, "exploration": self.loss.exploration}
        return self.loss.model_copy(update={name: usual if one is None else one for name, one in given.items()})


class RLTrainerConfig(RLTrainerSettings, Handed):
    max_steps: LargeInt = Field(140, ge=1, description="updates of the policy")


class DataConfig(Section):
    path: Path | None = Field(
        None,
        description="JSONL or Parquet file with messages, or prompt and completion; default: the task's own answers",
    )
    dataset: str | None = Field(None, min_length=1, description="data set on the Hugging Face hub, in place of a file")
    subset: str | None = Field(None, description="subset of the hub's data set, where it has several")
    split: str = Field("train", min_length=1, description="split of the hub's data set")
    too_long: Literal["error", "drop"] = Field(
        "error", description="what becomes of a record that is longer than the model's context"
    )
    validation_share: float = Field(0.1, gt=0, lt=1, description="share of the records that is held out")
    train_pairs: LargeInt = Field(20_000, ge=1, description="pairs taken from the task when there is no file")
    validation_pairs: LargeInt = Field(
        256, ge=1, description="held-out pairs taken from the task when there is no file"
    )


class SFTTrainerSettings(TrainerSettings):
    data: DataConfig = Field(default_factory=DataConfig)
    epochs: float | None = Field(
        None, gt=0, le=1e6, description="passes over the data, in place of a number of steps (max_steps)"
    )
    batch_size: LargeInt = Field(256, ge=1, description="sequences in a step, over all ranks")
    validation_interval: LargeInt = Field(25, ge=1, description="steps between evaluations on the held-out pairs")

    usual_rate = 1e-5


class SFTTrainerConfig(SFTTrainerSettings, Handed):
    max_steps: LargeInt = Field(150, ge=1, description="updates of the model")
    task: TaskConfig = Field(default_factory=TaskConfig)
