"""Settings of the inference server: what both engines have, and what is vLLM's."""

from typing import Literal

from pydantic import Field

from launcher.config.base import Duration, Section, SmallInt
from launcher.config.workload import Handed, ModelConfig

INFERENCE_TOKEN = "LAUNCH_INFERENCE_TOKEN"  # the run's server accepts weights only with this token

MOST_DRAWS = 1 << 24  # completions times max_tokens of one request to the builtin engine, a random number each

LOOPBACK = "127.0.0.1"

EngineName = Literal["builtin", "vllm"]


class InferenceSettings(Section):
    host: str | None = Field(
        None, description="address to listen on; default: 127.0.0.1, or all where other nodes must reach the server"
    )
    port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port the server listens on; 0 takes a free one; `replicas` take the next ones too",
    )
    max_batch: SmallInt = Field(512, ge=1, description="sequences that the builtin engine generates together")


class EngineSettings(Section):
    engine: EngineName | None = Field(
        None,
        description="what generates: builtin, or vllm, whose environment `python` may name; default: builtin for tiny, "
        "vllm for other models where it is installed. For your own server: whose endpoints for weights it has",
    )
    tensor_parallel: SmallInt = Field(1, ge=1, description="GPUs that share each copy of vLLM's model")
    data_parallel: SmallInt = Field(1, ge=1, description="copies of vLLM's model")
    max_model_len: SmallInt | None = Field(
        None, ge=1, description="longest sequence for vLLM, in tokens; default: the model's context"
    )
    gpu_memory: float | None = Field(
        None, gt=0, le=1, description="share of each GPU's memory that vLLM takes; default: vLLM's own, 0.9"
    )


class InferenceConfig(InferenceSettings, Handed):
    model: ModelConfig = Field(default_factory=ModelConfig)
    model_name: str = Field("policy", description="the name the server gives its model")
    grace: Duration = Field(30.0, ge=0, description="how long requests may take after the server is asked to end")
