"""The whole configuration of `launch rl`, `launch sft` and `launch train`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, model_validator

from launcher.borders.values import MOST_STEPS
from launcher.config.base import Directory, Duration, LargeInt, RunName, Section, Seed, ServiceName, SmallInt
from launcher.config.component import (
    ComponentConfig,
    ProcessConfig,
    ServiceConfig,
)
from launcher.config.jobs.k8s import K8sConfig
from launcher.config.jobs.slurm import SlurmConfig, hand_over_nodes
from launcher.config.notify import NotifyConfig
from launcher.config.order import check_order
from launcher.config.sections import Inference, Orchestrator, RLTrainer, SFTTrainer, TmuxConfig, Trainer
from launcher.config.wandb import WandbConfig
from launcher.config.workload import TINY, Handed, LogConfig, TaskConfig

H = TypeVar("H", bound=Handed)


Kind = Literal["rl", "sft", "train"]


class RunConfig(Section):
    """What all runs share."""

    kind: ClassVar[Kind]

    name: RunName | None = Field(None, description="the run's name; default: two random words")
    output_dir: Directory | None = Field(None, description="the run's directory; default: outputs/<name>")
    grace: Duration = Field(30.0, ge=0, description="time between SIGTERM and SIGKILL when the run ends")
    drain_timeout: Duration = Field(600.0, ge=0, description="how long trainer or orchestrator may outlast the other")
    every_line: bool = Field(False, description="on the console, do not fold lines that several ranks log alike")
    plain: bool = Field(False, description="show log lines on a terminal too, as in a pipe, instead of the live view")
    on_hangup: Literal["continue", "stop"] = Field("continue", description="what to do when the terminal closes")
    watchdog: Duration | None = Field(
        None, gt=0, description="fail the run when it logs nothing and makes no step for this time"
    )
    max_restarts: SmallInt = Field(0, ge=0, description="new attempts after trainer or orchestrator have failed")
    restart_backoff: Duration = Field(
        1.0, ge=0, description="pause before a new attempt, doubled each time without progress, up to 5 minutes"
    )
    spare_nodes: SmallInt = Field(
        0, ge=0, description="further launches that wait, and take the place of nodes that are lost"
    )
    min_nodes: SmallInt | None = Field(
        None,
        ge=1,
        description="continue on fewer nodes when one is lost and no spare waits; the trainer keeps this many",
    )
    on_exit: str | None = Field(None, description="command to run at the end, with the outcome in LAUNCH_* variables")
    log: LogConfig = Field(default_factory=LogConfig)
    wandb: WandbConfig = Field(default_factory=WandbConfig)
    tmux: TmuxConfig = Field(default_factory=TmuxConfig)
    notify: NotifyConfig = Field(default_factory=NotifyConfig)
    slurm: SlurmConfig = Field(default_factory=SlurmConfig)
    k8s: K8sConfig = Field(default_factory=K8sConfig)
    join_timeout: Duration = Field(600.0, gt=0, description="how long the nodes of a run wait for each other")
    join_secret_file: Path | None = Field(None, description="file with the secret that all nodes of the run share")
    services: dict[ServiceName, ServiceConfig] = Field({}, description="further processes, [services.NAME] in a file")

    @model_validator(mode="before")
    @classmethod
    def _nodes_have_one_owner(cls, values: Any) -> Any:
        return hand_over_nodes(values)

    @model_validator(mode="after")
    def _has_time_before_its_limit(self) -> Self:
        self.slurm.check_lead(self.grace)
        return self

    @model_validator(mode="after")
    def _is_submitted_once(self) -> Self:
        if self.slurm.enabled and self.k8s.enabled:
            raise ValueError("slurm and k8s are both on; a run is submitted to one of them: add --no-slurm or --no-k8s")
        given = [name for name in ("spare_nodes", "min_nodes") if getattr(self, name)]
        if self.k8s.enabled and given:
            instead = "a JobSet replaces the pod of a lost node: leave it out, and add --k8s.max-restarts N"
            raise ValueError(f"{given[0]} is not for Kubernetes: {instead}")
        return self

    @model_validator(mode="after")
    def _max_steps_reaches_a_program(self) -> Self:
        if "max_steps" in self.model_fields_set & RunConfig.unused(self):
            raise ValueError(
                "max_steps is for the reference workload, your own program does not get it: pass the number to your "
                "program after --, and to launch as progress_total"
            )
        return self

    @model_validator(mode="after")
    def _can_be_started_in_order(self) -> Self:
        check_order({name: process.after for name, process in started_processes(self).items()})
        return self

    @property
    def starting_model(self) -> str:
        """The model that the reference workload starts from; TINY also where nothing names one."""
        return TINY

    @property
    def tasks(self) -> dict[str, TaskConfig]:
        """What is learned or evaluated, by the field that names it."""
        return {}

    @property
    def known_steps(self) -> int | None:
        """The updates of the reference workload; None if something else decides."""
        return None

    def unused(self) -> frozenset[str]:
        programs = started_processes(self)
        takes_steps = any(name in programs and is_reference(programs[name]) for name in ("trainer", "orchestrator"))
        return frozenset() if takes_steps else frozenset({"max_steps"})


def is_reference(process: ProcessConfig) -> bool:
    """Whether it is a component that comes with launch."""
    return isinstance(process, ComponentConfig) and process.is_reference


def started_processes(config: RunConfig) -> dict[str, ProcessConfig]:
    """The settings of every process that the run starts, by name."""
    components = [name for name in ("trainer", "orchestrator", "inference") if hasattr(config, name)]
    started = {name: getattr(config, name) for name in components if getattr(getattr(config, name), "enabled", True)}
    return {**started, **config.services}


class TrainConfig(RunConfig):
    """Any program under torchrun, with services."""

    kind = "train"
    trainer: Trainer = Field(default_factory=Trainer)


class WorkloadRun(RunConfig):
    """What the kinds of runs share that have a reference workload."""

    seed: Seed = Field(0, description="random seed of the reference workload")
    task: TaskConfig = Field(default_factory=TaskConfig)


class SFTConfig(WorkloadRun):
    kind = "sft"
    max_steps: int = Field(150, ge=1, le=MOST_STEPS, description="updates of the model")
    trainer: SFTTrainer = Field(default_factory=SFTTrainer)

    @property
    def starting_model(self) -> str:
        return self.trainer.model.name

    @property
    def tasks(self) -> dict[str, TaskConfig]:
        return {"task.name": self.task}

    @property
    def known_steps(self) -> int | None:
        return self.max_steps if self.trainer.epochs is None else None

    def unused(self) -> frozenset[str]:
        return super().unused() | (frozenset() if self.trainer.epochs is None else frozenset({"max_steps"}))

    @model_validator(mode="after")
    def _there_is_something_to_learn(self) -> Self:
        data = self.trainer.data
        if self.task.environment and self.trainer.is_reference and data.path is None and data.dataset is None:
            raise ValueError(
                f"the task {self.task.name} has rewards and no answers that could be learned: give data with "
                "--data or --trainer.data.dataset, or use launch rl"
            )
        if data.path is not None and data.dataset is not None:
            raise ValueError("trainer.data has both a path and a dataset: name one of them")
        return self


class RLConfig(WorkloadRun):
    kind = "rl"
    max_steps: int = Field(140, ge=1, le=MOST_STEPS, description="updates of the policy")
    max_async: LargeInt = Field(1, ge=0, description="how many updates old the sampling policy may be")
    weights_dir: Path | None = Field(
        None, description="where weights are published, such as /dev/shm; default: in the run's directory"
    )
    trainer: RLTrainer = Field(default_factory=RLTrainer)
    orchestrator: Orchestrator = Field(default_factory=Orchestrator)
    inference: Inference = Field(default_factory=Inference)

    @property
    def starting_model(self) -> str:
        return self.trainer.model.name

    @property
    def tasks(self) -> dict[str, TaskConfig]:
        sets = self.orchestrator.evaluation.tasks(self.task)
        return {"task.name": self.task} | {f"orchestrator.evaluation.sets.{name}": sets[name] for name in sets}

    @property
    def known_steps(self) -> int:
        return self.max_steps

    @model_validator(mode="after")
    def _the_server_takes_weights(self) -> Self:
        inference = self.inference
        takes = inference.is_reference or inference.takes_weights or inference.engine is not None
        ours = self.orchestrator.enabled and self.orchestrator.is_reference
        if inference.enabled and ours and not takes:
            raise ValueError(
                "the reference orchestrator sends new weights to the server, but inference is your own program: set "
                "inference.engine = 'vllm' if it is a vLLM in development mode, inference.takes_weights = true if it "
                "loads them at /update_weights, or name your own orchestrator (orchestrator.script)"
            )
        return self

    @model_validator(mode="after")
    def _one_server(self) -> Self:
        if self.inference.enabled and self.orchestrator.inference_url is not None:
            raise ValueError(
                "orchestrator.inference_url names a server, but inference starts another one; add --no-inference"
            )
        if not self.inference.enabled and self.inference.nodes:
            raise ValueError("inference.nodes is set, but --no-inference says that there is no inference")
        ours = self.orchestrator.enabled and self.orchestrator.is_reference
        if not self.inference.enabled and self.orchestrator.inference_url is None and ours:
            raise ValueError("without inference, orchestrator.inference_url must say where the server is")
        return self

    @model_validator(mode="after")
    def _a_completion_fits(self) -> Self:
        length, model, longest = self.orchestrator.sampling.max_tokens, self.trainer.model, self.inference.max_model_len
        ours = self.orchestrator.enabled and self.orchestrator.is_reference
        if ours and model.name == TINY and self.trainer.is_reference and length >= model.tiny.context:
            raise ValueError(
                f"orchestrator.sampling.max_tokens = {length} leaves no room for a prompt in the context of tiny: "
                f"trainer.model.tiny.context = {model.tiny.context}"
            )
        if ours and longest is not None and length >= longest:
            raise ValueError(
                f"orchestrator.sampling.max_tokens = {length} leaves no room for a prompt in inference.max_model_len = "
                f"{longest}"
            )
        return self

    @model_validator(mode="after")
    def _somebody_samples(self) -> Self:
        if not self.orchestrator.enabled and self.trainer.is_reference:
            raise ValueError(
                "the reference trainer learns from what the orchestrator samples; with --no-orchestrator name your own "
                "trainer (trainer.script)"
            )
        return self


Config = RLConfig | SFTConfig | TrainConfig

KINDS: dict[Kind, type[RLConfig] | type[SFTConfig] | type[TrainConfig]] = {
    "rl": RLConfig,
    "sft": SFTConfig,
    "train": TrainConfig,
}
"""The configuration of each kind of run."""


def process_count(config: Config) -> int:
    nproc = config.trainer.nproc
    return len(started_processes(config)) + (nproc if isinstance(nproc, int) else 0)


def hand_over(model: type[H], config: RunConfig, settings: Any, own: Mapping[str, Any]) -> H:
    """A component's full configuration: its own settings, then the run's shared ones, matched by field name."""
    values = {}
    for field in model.model_fields:
        if field in own:
            values[field] = own[field]
        elif hasattr(settings, field):
            values[field] = getattr(settings, field)
        elif field in type(config).model_fields:  # a property of the same name means something else
            values[field] = getattr(config, field)
    aliases = {field: info.alias or field for field, info in model.model_fields.items()}
    return model.model_validate({aliases[field]: value for field, value in values.items()})
