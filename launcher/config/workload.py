"""Settings that the components of the reference workload share.

A `…Settings` class is the component's own section in the run's configuration. The `…Config` class adds what all
components share: it is the content of `configs/<component>.toml`, which the module itself reads.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from launcher.config.base import Directory, Duration, Section, Seed, SmallInt

Device = Literal["auto", "cpu", "cuda"]
DType = Literal["float32", "bfloat16"]

TINY = "tiny"

BUILTIN_TASKS = ("reverse", "arithmetic")
TASK_FILES = (".jsonl", ".parquet")
ENVIRONMENT = "verifiers:"
VERIFIERS = "pip install 'launch-rl[verifiers]'"
NAMED_REWARDS = ("exact", "contains", "number", "math")


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


def _is_attribute(name: str) -> bool:
    """Whether it has the form module:name, with Python's names only: no relative module."""
    module, _, attribute = name.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), attribute))


def _task_name(name: str) -> str:
    is_environment = re.fullmatch(rf"{ENVIRONMENT}([\w.-]+/)?[\w-]+(@[\w.-]+)?", name, re.ASCII)
    if not (name in BUILTIN_TASKS or name.endswith(TASK_FILES) or is_environment or _is_attribute(name)):
        raise ValueError(
            f"there is no task {name!r}; there are {', '.join(BUILTIN_TASKS)}, "
            f"a {' or '.join(TASK_FILES)} file, verifiers:NAME, or your class as module:Class"
        )
    return name


def _reward_name(name: str) -> str:
    if not (name in NAMED_REWARDS or _is_attribute(name)):
        raise ValueError(
            f"there is no reward {name!r}; there are {', '.join(NAMED_REWARDS)}, or your function as module:function"
        )
    return name


TaskName = Annotated[str, AfterValidator(_task_name)]


class TaskConfig(Section):
    """What is learned."""

    name: TaskName = Field(
        "reverse",
        description="the task: reverse, arithmetic, a .jsonl or .parquet file, an environment of verifiers as "
        "verifiers:NAME, or a class as module:Class",
    )
    args: dict[str, Any] = Field({}, description="keyword arguments for the task's class, or an environment's settings")
    reward: Annotated[str, AfterValidator(_reward_name)] = Field(
        "exact",
        description="how completions are compared with a file's answers: exact, contains, number, math, or a function "
        "of yours as module:function, called with prompt, completion and answer",
    )
    reward_timeout: Duration = Field(
        30.0, gt=0, description="how long one reward may take; one that takes longer or raises counts as 0"
    )

    @property
    def file(self) -> Path | None:
        """The file with prompts and answers, if the task is one."""
        return Path(self.name).expanduser() if self.name.endswith(TASK_FILES) else None

    @property
    def environment(self) -> str | None:
        """The environment of verifiers, if the task is one."""
        return self.name.removeprefix(ENVIRONMENT) if self.name.startswith(ENVIRONMENT) else None

    @property
    def function(self) -> tuple[str, str] | None:
        """Module and name of the user's reward for a file, if there is one."""
        module, colon, name = self.reward.partition(":")
        return (module, name) if self.file and colon else None


class Handed(Section):
    """What every component gets beside its own settings."""

    run_name: str = Field("by-hand", description="the run's name")
    output_dir: Directory = Field(Path("outputs/by-hand"), description="the run's directory")
    attempt: SmallInt = Field(1, ge=1, description="the attempt, counted from 1")
    node: SmallInt | None = Field(None, ge=0, description="rank of this node in a run on several nodes")
    seed: Seed = Field(0, description="seed of every random choice")
    log: LogConfig = Field(default_factory=LogConfig)
