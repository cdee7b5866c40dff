"""A model on disk: a directory with `model.safetensors` and, in `config.json`, its shape."""

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from launcher.borders.files import open_regular, read_bytes
from launcher.checkpoints import steps_in
from launcher.config.workload import ModelConfig
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.workload.model import ModelShape, Transformer

WEIGHTS, CONFIG = "model.safetensors", "config.json"
LARGEST_CONFIG = 64 * 1024  # bytes


def save_model(model: Transformer, directory: Path, **about: Any) -> None:
    """Write a model to a directory; `about` is added to its config.json."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, directory / WEIGHTS)
    (directory / CONFIG).write_text(json.dumps(asdict(model.shape) | about, indent=2) + "\n")


def read_shape(directory: Path) -> ModelShape:
    """The shape that a checkpoint says it has. Raises UserError when it does not say."""
    try:
        config = json.loads(read_bytes(directory / CONFIG, LARGEST_CONFIG, follow=True))
        return ModelShape(**{field.name: int(config[field.name]) for field in fields(ModelShape)})
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        hint = f"{CONFIG} must have {', '.join(field.name for field in fields(ModelShape))}"
        raise UserError(f"cannot read the model's shape from {directory / CONFIG}: {error}", hint) from error


def load_weights(model: Transformer, directory: Path) -> None:
    """Replace a model's weights by a checkpoint's. Raises UserError when they do not fit; nothing has changed then."""
    model.load_state_dict(_read_weights(model, directory))


def read_update(model: Transformer, directory: Path, root: Path) -> dict[str, Tensor]:
    """The weights in a directory below `root`, or named as it is called there, of the very types that the model has.

    Raises UserError when the directory or its files lie elsewhere, or when anything about the weights does not fit.
    """
    directory = root / directory
    for path in (directory, directory / CONFIG, directory / WEIGHTS):
        if not path.resolve().is_relative_to(root.resolve()):
            raise UserError(f"{path} is not below {root}", "the server loads what this run's trainer has written")
    weights = _read_weights(model, directory)
    for name, own in model.state_dict().items():
        if weights[name].dtype != own.dtype:
            raise UserError(f"{directory} does not fit: {name} is {weights[name].dtype}, in the model {own.dtype}")
    return weights


def _read_weights(model: Transformer, directory: Path) -> dict[str, Tensor]:
    """A checkpoint's weights, with the names and shapes that the model has, and finite. Raises UserError."""
    shape, own, path = read_shape(directory), model.state_dict(), directory / WEIGHTS
    if shape != model.shape:
        raise UserError(f"{directory} does not fit: it has {shape}, the model is {model.shape}")
    try:
        with os.fdopen(open_regular(path, follow=True)) as file:
            weights = load_file(f"/proc/self/fd/{file.fileno()}")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be loaded: {error}") from error
    if weights.keys() != own.keys():
        odd = ", ".join(sorted(weights.keys() ^ own.keys()))
        raise UserError(f"{path} does not fit: missing there, or not in the model: {odd}")
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise UserError(f"{path} does not fit: {name} is {[*tensor.shape]}, in the model {[*own[name].shape]}")
        if not tensor.isfinite().all():
            raise UserError(f"{path}: {name} has values that are not finite")
    return weights


def find_checkpoint(path: Path) -> Path:
    """The directory with the weights: `path` itself, or the newest checkpoint of the run whose directory it is.

    Raises UserError when it is neither.
    """
    if (path / WEIGHTS).is_file():
        return path
    run = RunDir(path)
    steps = steps_in(run.checkpoints)
    if steps:
        return run.checkpoint(steps[-1])
    raise UserError(
        f"there is no checkpoint at {path}", f"name a directory with {WEIGHTS}, or the output directory of a run"
    )


def build_model(config: ModelConfig, seed: int) -> Transformer:
    """The model that a run starts from, on the CPU: its checkpoint, or random weights that depend on the seed alone.

    So the trainer and the inference server begin with the same policy without having talked. Raises UserError when the
    checkpoint is missing or broken, or when the shape is impossible.
    """
    if config.checkpoint is not None:
        return load_model(find_checkpoint(config.checkpoint), config)
    torch.manual_seed(seed)
    return _new(configured_shape(config), config)


def configured_shape(config: ModelConfig) -> ModelShape:
    """The shape of a model that starts from no checkpoint."""
    return ModelShape(config.layers, config.dim, config.heads, config.context)


def load_model(directory: Path, config: ModelConfig) -> Transformer:
    """A checkpoint's model, of the checkpoint's shape. Raises UserError when it is missing or broken."""
    model = _new(read_shape(directory), config)
    load_weights(model, directory)
    return model


def _new(shape: ModelShape, config: ModelConfig) -> Transformer:
    if shape.dim % shape.heads:
        raise UserError(f"model.dim {shape.dim} is not a multiple of model.heads {shape.heads}")
    return Transformer(shape).to(dtype=getattr(torch, config.dtype))
