"""Settings of the reference workload.

A `…Settings` class is the component's own section in the run's configuration. The `…Config` class adds what all
components share: it is the content of `configs/<component>.toml`, which the module itself reads.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from launcher.config.base import Directory, Duration, LargeInt, Section, Seed, SmallInt
from launcher.config.wandb import WandbSection

Device = Literal["auto", "cpu", "cuda"]
DType = Literal["float32", "bfloat16"]

INFERENCE_TOKEN = "LAUNCH_INFERENCE_TOKEN"  # the run's server accepts weights only with this token


class LogConfig(Section):
    level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="lowest level that is logged"
    )
    json_lines: bool = Field(False, alias="json", description="log one JSON object per line, for log collectors")


class ModelConfig(Section):
    """A causal transformer over bytes."""

    checkpoint: Path | None = Field(
        None, description="directory with model.safetensors to start from, or a run's directory"
    )
    layers: SmallInt = Field(1, ge=1, description="transformer blocks")
    dim: SmallInt = Field(128, ge=8, description="width of the residual stream")
    heads: SmallInt = Field(4, ge=1, description="attention heads")
    context: SmallInt = Field(64, ge=8, description="longest sequence, in tokens (bytes)")
    device: Device = Field("auto", description="where the model runs; auto takes a GPU if there is one")
    dtype: DType = Field("float32", description="type of the weights and of the arithmetic")


class OptimizerConfig(Section):
    lr: float = Field(3e-3, gt=0, description="AdamW's learning rate after the warm-up")
    warmup_steps: LargeInt = Field(10, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's first moment decay")
    beta2: float = Field(0.99, ge=0, lt=1, description="AdamW's second moment decay")
    max_norm: float = Field(1.0, gt=0, description="largest gradient norm; larger gradients are scaled down")


class CheckpointConfig(Section):
    interval: LargeInt = Field(50, ge=0, description="steps between checkpoints; 0 writes only the last one")
    keep: SmallInt = Field(2, ge=1, description="number of newest checkpoints to keep")


class TaskConfig(Section):
    target: str = Field("launcher.workload.task:ReverseText", description="the task, as module:Class")
    args: dict[str, Any] = Field({}, description="keyword arguments for the task's class")


class Handed(Section):
    """What every component gets beside its own settings."""

    run_name: str = Field("by-hand", description="the run's name")
    output_dir: Directory = Field(Path("outputs/by-hand"), description="the run's directory")
    attempt: SmallInt = Field(1, ge=1, description="the attempt, counted from 1")
    node: SmallInt | None = Field(None, ge=0, description="rank of this node in a run on several nodes")
    seed: Seed = Field(0, description="seed of every random choice")
    log: LogConfig = Field(default_factory=LogConfig)


# --- trainers ---------------------------------------------------------------------------------------------------------


class TrainerSettings(WandbSection):
    model: ModelConfig = Field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)


class PolicyLossConfig(Section):
    clip_low: float = Field(0.2, gt=0, lt=1, description="importance ratios below 1 - clip_low are clipped")
    clip_high: float = Field(0.28, gt=0, description="importance ratios above 1 + clip_high are clipped")
    entropy: float = Field(0.02, ge=0, description="weight of the entropy bonus")
    exploration: float = Field(0.02, ge=0, description="weight of the term that keeps every token possible")


class RLTrainerSettings(TrainerSettings):
    loss: PolicyLossConfig = Field(default_factory=PolicyLossConfig)
    batch_timeout: Duration = Field(600.0, gt=0, description="how long to wait for the orchestrator's next batch")


class RLTrainerConfig(RLTrainerSettings, Handed):
    max_steps: LargeInt = Field(175, ge=1, description="updates of the policy")


class DataConfig(Section):
    path: Path | None = Field(None, description="JSONL file with prompt and completion; default: pairs of the task")
    validation_share: float = Field(0.1, gt=0, lt=1, description="share of the file that is held out")
    train_pairs: LargeInt = Field(20_000, ge=1, description="pairs taken from the task when there is no file")
    validation_pairs: LargeInt = Field(
        256, ge=1, description="held-out pairs taken from the task when there is no file"
    )


class SFTTrainerSettings(TrainerSettings):
    data: DataConfig = Field(default_factory=DataConfig)
    batch_size: LargeInt = Field(256, ge=1, description="sequences in a step, over all ranks")
    validation_interval: LargeInt = Field(25, ge=1, description="steps between evaluations on the held-out pairs")


class SFTTrainerConfig(SFTTrainerSettings, Handed):
    max_steps: LargeInt = Field(150, ge=1, description="updates of the model")
    task: TaskConfig = Field(default_factory=TaskConfig)


# --- orchestrator and inference ---------------------------------------------------------------------------------------


class SamplingConfig(Section):
    temperature: float = Field(1.0, gt=0, description="temperature of the samples that are trained on")
    max_tokens: SmallInt = Field(8, ge=1, description="longest completion, in tokens")


class OrchestratorSettings(WandbSection):
    inference_url: str | None = Field(
        None, description="URL[,URL...] of servers that already run; needs --no-inference"
    )
    prompts_per_step: LargeInt = Field(32, ge=1, description="prompts in a step")
    samples_per_prompt: LargeInt = Field(
        16, ge=2, description="samples for each prompt; advantages are relative to this group"
    )
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    evaluation_prompts: LargeInt = Field(128, ge=1, description="held-out prompts in an evaluation")
    evaluation_interval: LargeInt = Field(
        50, ge=0, description="steps between evaluations; 0 evaluates only at the start and the end"
    )
    inference_timeout: Duration = Field(
        600.0, gt=0, description="how long to wait for a server to answer, at the start or after it was lost"
    )
    weights_timeout: Duration = Field(600.0, gt=0, description="how long to wait for the trainer's weights")


class OrchestratorConfig(OrchestratorSettings, Handed):
    max_steps: LargeInt = Field(175, ge=1, description="batches handed to the trainer")
    max_async: LargeInt = Field(1, ge=0, description="how many updates old the sampling policy may be")
    task: TaskConfig = Field(default_factory=TaskConfig)
    model_name: str = Field("policy", description="the model to ask the server for")


class InferenceSettings(Section):
    host: str = Field("127.0.0.1", description="address the server listens on")
    port: int = Field(0, ge=0, le=65535, description="port the server listens on; 0 takes a free one")
    max_batch: SmallInt = Field(512, ge=1, description="sequences that are generated together")


class InferenceConfig(InferenceSettings, Handed):
    model: ModelConfig = Field(default_factory=ModelConfig)
    model_name: str = Field("policy", description="the name the server gives its model")
    grace: Duration = Field(30.0, ge=0, description="how long requests may take after the server is asked to end")
