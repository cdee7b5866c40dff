"""Settings of the reference inference server."""

from pydantic import Field

from launcher.config.base import Duration, Section, SmallInt
from launcher.config.workload import Handed, ModelConfig

INFERENCE_TOKEN = "LAUNCH_INFERENCE_TOKEN"  # the run's server accepts weights only with this token


class InferenceSettings(Section):
    host: str = Field("127.0.0.1", description="address the server listens on")
    port: int = Field(0, ge=0, le=65535, description="port the server listens on; 0 takes a free one")
    max_batch: SmallInt = Field(512, ge=1, description="sequences that are generated together")


class InferenceConfig(InferenceSettings, Handed):
    model: ModelConfig = Field(default_factory=ModelConfig)
    model_name: str = Field("policy", description="the name the server gives its model")
    grace: Duration = Field(30.0, ge=0, description="how long requests may take after the server is asked to end")
