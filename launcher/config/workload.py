"""Settings that the components of the reference workload share.

A `…Settings` class is the component's own section in the run's configuration. The `…Config` class adds what all
components share: it is the content of `configs/<component>.toml`, which the module itself reads.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from launcher.config.base import Directory, Section, Seed, SmallInt

Device = Literal["auto", "cpu", "cuda"]
DType = Literal["float32", "bfloat16"]

TINY = "tiny"


class LogConfig(Section):
    level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="lowest level that is logged"
    )
    json_lines: bool = Field(False, alias="json", description="log one JSON object per line, for log collectors")


class TinyConfig(Section):
    """The shape of `tiny`: a model like GPT-2, over bytes, with random weights."""

    layers: SmallInt = Field(1, ge=1, description="transformer blocks")
    dim: SmallInt = Field(128, ge=8, description="width of the residual stream")
    heads: SmallInt = Field(4, ge=1, description="attention heads")
    context: SmallInt = Field(64, ge=8, description="longest sequence, in tokens (bytes)")


class ModelConfig(Section):
    """The model that is trained."""

    name: str = Field(
        TINY,
        description="model to start from: tiny, a directory as save_pretrained writes it, a run's directory, a hub id",
    )
    tiny: TinyConfig = Field(default_factory=TinyConfig)
    device: Device = Field("auto", description="where the model runs; auto takes a GPU if there is one")
    dtype: DType = Field("float32", description="type of the weights and of the arithmetic")


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
