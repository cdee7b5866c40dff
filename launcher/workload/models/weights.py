"""The weights of a model on disk: one file of safetensors, with the names that `from_pretrained` and vLLM expect."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from launcher.borders.files import open_regular
from launcher.errors import UserError
from launcher.workload.rollout.handover import WEIGHTS

STEP = "step"  # the key in the file's header: how many updates the weights have seen


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights by name; of tied ones the first name alone, as `save_pretrained` writes them."""
    seen: set[int] = set()
    found = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor.detach()
    return found


def as_in_files(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's weights as its published files have them, and vLLM reads them: each expert's alone, for example."""
    return dict(revert_weight_conversion(model, dict(tensors)))


def as_in_memory(model: PreTrainedModel, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse. Weights that do not fit come back as they are."""
    if as_in_files(model, tensors_of(model)).keys() != weights.keys():
        return weights
    try:
        loaded = type(model).from_pretrained(None, config=model.config, state_dict=weights, dtype=model.dtype)
    except (RuntimeError, ValueError):  # their shapes are others
        return weights
    return tensors_of(loaded)


def save_weights(tensors: Mapping[str, Tensor], directory: Path, **about: object) -> None:
    """Write weights to a directory; `about` is kept in the file's header."""
    directory.mkdir(parents=True, exist_ok=True)
    header = {"format": "pt"} | {name: str(value) for name, value in about.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, directory / WEIGHTS, header)


def read_update(model: PreTrainedModel, directory: Path, root: Path, step: int) -> dict[str, Tensor]:
    """The weights in a directory below `root`, or named as it is called there, of the very types that the model has.

    Raises UserError when the directory or its file lies elsewhere, when it says that it is of another step, or when
    anything about the weights does not fit.
    """
    directory = root / directory
    path = directory / WEIGHTS
    for lies in (directory, path):
        if not lies.resolve().is_relative_to(root.resolve()):
            raise UserError(f"{lies} is not below {root}", "the server loads what this run's trainer has written")
    try:
        with os.fdopen(open_regular(path, follow=True)) as file:
            opened = f"/proc/self/fd/{file.fileno()}"
            with safe_open(opened, "pt") as header:
                about = header.metadata() or {}
            weights = load_file(opened)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be loaded: {error}") from error
    if about.get(STEP, str(step)) != str(step):
        raise UserError(f"{path} has the weights of step {about[STEP]}, not {step}")
    own = tensors_of(model)
    if weights.keys() != own.keys():
        weights = as_in_memory(model, weights)
    if weights.keys() != own.keys():
        odd = ", ".join(sorted(weights.keys() ^ own.keys()))
        raise UserError(f"{path} does not fit: missing there, or not in the model: {odd}")
    for name, tensor in weights.items():
        if (tensor.shape, tensor.dtype) != (own[name].shape, own[name].dtype):
            has, wants = f"{[*tensor.shape]} {tensor.dtype}", f"{[*own[name].shape]} {own[name].dtype}"
            raise UserError(f"{path} does not fit: {name} is {has}, in the model {wants}")
        if not tensor.isfinite().all():
            raise UserError(f"{path}: {name} has values that are not finite")
    return weights


def take_update(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Replace the model's weights by what `read_update` returned; tied ones are there once."""
    model.load_state_dict(weights, strict=False)
