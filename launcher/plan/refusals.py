"""Requests that are refused before anything starts, since the run could only fail. Each check raises UserError."""

from launcher.config.run import Config, RLConfig, SFTConfig, TrainConfig, is_reference
from launcher.errors import UserError
from launcher.plan.memory import ModelSize
from launcher.plan.nodes import Nodes


def check_program(config: Config) -> None:
    if isinstance(config, TrainConfig) and not config.trainer.has_program:
        hint = "type it: launch train train.py ARGUMENTS, or launch train -m pkg.train ARGUMENTS"
        raise UserError("launch train has no program to start", hint)


def check_weights_dir(config: RLConfig, nodes: Nodes | None) -> None:
    if config.weights_dir and nodes:
        hint = "leave it out: nodes exchange weights through the run's directory"
        raise UserError("--weights-dir is for a trainer and a server on one host", hint)


def check_chat_template(config: RLConfig, has_template: bool | None) -> None:
    """`has_template` is None where it is unknown."""
    needs_template = config.task.environment and "renderer" not in config.task.args
    if needs_template and config.orchestrator.is_reference and has_template is False:
        message = f"environments talk in chat messages, and {config.trainer.model.name} has no chat template"
        raise UserError(message, "use a chat model, or name its renderer as task.args.renderer")


def check_batch(config: Config, ranks: int) -> None:
    """A step of the reference trainer needs something for each rank to learn from."""
    if not is_reference(config.trainer):
        return
    if isinstance(config, SFTConfig) and config.trainer.batch_size < ranks:
        what = f"--trainer.batch-size {config.trainer.batch_size} is too small for {ranks} ranks"
        raise UserError(what, f"each takes a part of every batch: at least {ranks}, or a lower --nproc")
    if isinstance(config, RLConfig) and config.orchestrator.enabled and is_reference(config.orchestrator):
        asked = config.orchestrator
        if asked.prompts_per_step * asked.samples_per_prompt < ranks:
            samples = asked.prompts_per_step * asked.samples_per_prompt
            what = f"a step has {samples} samples (orchestrator.prompts_per_step x samples_per_prompt), too few for"
            raise UserError(f"{what} {ranks} ranks", f"at least {ranks}, or a lower --nproc")


def check_context(config: RLConfig, model: ModelSize | None) -> None:
    """A completion must not fill the model's context alone. The configuration checks that of tiny."""
    length = config.orchestrator.sampling.max_tokens
    ours = is_reference(config.orchestrator) and config.inference.enabled and is_reference(config.inference)
    if ours and model and model.context and config.inference.max_model_len is None and length >= model.context:
        what = f"orchestrator.sampling.max_tokens = {length} leaves no room for a prompt in the context of"
        raise UserError(f"{what} {config.starting_model}: {model.context}", f"type at most {model.context - 1}")
