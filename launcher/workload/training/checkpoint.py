"""Checkpoints in Hugging Face's layout, with what a resume needs in a folder within.

    checkpoints/step_50/
    ├── config.json, generation_config.json, tokenizer files, model.safetensors    for from_pretrained, vLLM, --model
    └── resume/                                                                    torch's distributed checkpoint

In resume/ are the float32 weights (with LoRA the adapters' alone), AdamW's moments and the ranks' random states. The
place in the data is the step itself, since every draw from the data is a function of seed and step; a digest says what
the data were. All ranks write their part, unless they are on nodes that do not share the directory: then the first one
gathers and writes all.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import Unpickler, UnpicklingError
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from launcher.borders.files import read_bytes
from launcher.errors import UserError
from launcher.workload.models.tokenizer import Tokenizer
from launcher.workload.models.weights import save_weights
from launcher.workload.ranks import World

RESUME = "resume"
DATA = "data.digest"
LORA = ".lora_"  # in the names of adapters
DESCRIBING = ("torch", "torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem")
BROKEN = (OSError, ValueError, KeyError, RuntimeError, EOFError, AttributeError, UnpicklingError, CheckpointException)


def save_model(directory: Path, model: PreTrainedModel, tokenizer: Tokenizer, weights: dict[str, Tensor]) -> None:
    """Write a directory that `from_pretrained` loads; the same bytes for the same weights."""
    save_weights(weights, directory)  # whose header has an order only while it says nothing more
    model.config.dtype = next(iter(weights.values())).dtype
    model.config.save_pretrained(directory)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def write_data(checkpoint: Path, digest: str) -> None:
    """Say which data the checkpoint has learned from."""
    (checkpoint / RESUME / DATA).write_text(digest)


def data_of(checkpoint: Path) -> str | None:
    """The digest of the data that the checkpoint has learned from. None if it is not known."""
    try:
        return read_bytes(checkpoint / RESUME / DATA).decode(errors="replace")
    except OSError:
        return None


class MetadataReader(FileSystemReader):
    """torch's, but for the pickle that says which tensor is where: it can name only what describes tensors."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with self.fs.create_stream(Path(self.path, ".metadata"), "rb") as file:
            metadata = _Unpickler(file).load()
        if not isinstance(metadata, Metadata):
            raise UnpicklingError("it describes no tensors")
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Unpickler(Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("pathlib", "PosixPath"), ("torch.serialization", "_get_layout")):
            return super().find_class(module, name)
        found = super().find_class(module, name) if module in DESCRIBING else None
        if isinstance(found, torch.dtype) or (isinstance(found, type) and found.__module__ in DESCRIBING):
            return found
        raise UnpicklingError(f"it names {module}.{name}")


class TrainingState:
    """All tensors that an update changes, under the names that they have in a checkpoint."""

    def __init__(self, module: nn.Module, optimizer: Optimizer, ranks: World) -> None:
        self.module, self.optimizer, self.ranks = module, optimizer, ranks

    def save(self, checkpoint: Path) -> None:
        """Write it. All ranks must call this, with a directory that the first rank has made."""
        together = self._is_seen_by_all(checkpoint)
        tensors = self._tensors() if together else {name: _whole(one) for name, one in self._tensors().items()}
        if together:
            tensors |= {self._random: torch.get_rng_state()}
        if together or self.ranks.is_first:
            alone = not together or self.ranks.count == 1
            with quiet():
                save(tensors, checkpoint_id=checkpoint / RESUME, no_dist=alone)

    def load(self, checkpoint: Path) -> None:
        """Put everything back as it was. Raises UserError when the checkpoint is broken, or another model's."""
        there = self.ranks.from_first(lambda: _names_in(checkpoint / RESUME))
        self._check_adapters(checkpoint, there)
        # not where no gradient had been usable by then; a checkpoint that cannot be read is refused below
        if not there or any(name.startswith("optimizer.") for name in there):
            self._make_moments()
        try:
            with quiet():
                self._load(checkpoint)
        except BROKEN as error:
            raise UserError(f"cannot continue from {checkpoint / RESUME}: {_reason(error)}") from error

    def _check_adapters(self, checkpoint: Path, there: list[str]) -> None:
        has, wanted = any(LORA in name for name in there), [name for name in self._tensors() if LORA in name]
        if there and has != bool(wanted):
            what = "adapters, and trainer.lora.rank is 0" if has else "no adapters, and trainer.lora.rank is not 0"
            hint = "a resume keeps the rank; a new run with --model may begin with this one's weights"
            raise UserError(f"cannot continue from {checkpoint}: it has {what}", hint)

    def _load(self, checkpoint: Path) -> None:
        if self._is_seen_by_all(checkpoint):
            self._load_together(checkpoint / RESUME)
        else:
            self._load_from_first(checkpoint / RESUME)

    def _load_together(self, directory: Path) -> None:
        tensors = self._tensors()
        reader = MetadataReader(directory)
        there = reader.read_metadata().state_dict_metadata
        if self._random in there:  # it is not where there were fewer ranks
            tensors[self._random] = torch.get_rng_state()
        load(tensors, storage_reader=reader, no_dist=self.ranks.count == 1)
        if self._random in tensors:
            torch.set_rng_state(tensors[self._random])

    def _load_from_first(self, directory: Path) -> None:
        wholes = {name: torch.empty(one.shape, dtype=one.dtype) for name, one in self._tensors().items()}
        if self.ranks.is_first:
            load(wholes, storage_reader=MetadataReader(directory), no_dist=True)
        for name, tensor in self._tensors().items():
            whole = wholes.pop(name).to(tensor.device)
            if isinstance(tensor, DTensor):
                tensor.copy_(distribute_tensor(whole, tensor.device_mesh, tensor.placements))
            else:
                dist.broadcast(whole, src=0)
                tensor.copy_(whole)

    @property
    def _random(self) -> str:
        return f"random.{self.ranks.rank}"

    def _is_seen_by_all(self, directory: Path) -> bool:
        return self.ranks.highest(int(not directory.is_dir())) == 0

    def _tensors(self) -> dict[str, Tensor]:
        found = {}
        trained = ((name, one) for name, one in self.module.named_parameters() if one.requires_grad)
        for name, parameter in trained:
            found[f"weights.{name}"] = parameter.detach()
            moments = self.optimizer.state.get(parameter, {})
            found |= {f"optimizer.{name}.{key}": value for key, value in moments.items()}
        return found

    def _make_moments(self) -> None:
        """The optimizer makes them in its first step; what this one changes is overwritten."""
        for parameter in self.module.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad()


@contextmanager
def quiet() -> Iterator[None]:
    """Without torch's warning that it writes from a single process, which is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _names_in(directory: Path) -> list[str]:
    """The tensors of a checkpoint; none if it cannot be read."""
    try:
        return list(MetadataReader(directory).read_metadata().state_dict_metadata)
    except BROKEN:
        return []


def _whole(tensor: Tensor) -> Tensor:
    """All of it, on the CPU."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu()


def _reason(error: BaseException) -> str:
    """In one line; torch's exception lists what went wrong on each rank."""
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    return f"{error}".strip().partition("\n")[0] or type(error).__name__
