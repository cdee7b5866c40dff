"""Whether two runs have learned the same."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from launcher.rundir import RunDir
from launcher.workload.training.checkpoint import RESUME, MetadataReader, quiet


def training_state(checkpoint: Path) -> dict[str, Tensor]:
    """Weights and moments in a checkpoint, whole, however many ranks have written them."""
    reader = MetadataReader(checkpoint / RESUME)
    found = reader.read_metadata().state_dict_metadata.items()
    tensors = {
        name: torch.empty(one.size, dtype=one.properties.dtype)
        for name, one in found
        if isinstance(one, TensorStorageMetadata) and not name.startswith("random")
    }
    with quiet():
        load(tensors, storage_reader=reader, no_dist=True)
    return tensors


def assert_same_weights(one: RunDir, other: RunDir, step: int) -> None:
    """To within float32's rounding, at one step's checkpoints of a model `tiny`."""
    ours, theirs = (load_file(run.checkpoint(step) / "model.safetensors") for run in (one, other))
    assert ours.keys() == theirs.keys()
    for name, weights in ours.items():
        if name.endswith("c_attn.bias"):
            # the keys' bias changes no attention, so its gradient is rounding alone, and AdamW makes a step of it
            queries, _, values = weights.chunk(3)
            their_queries, _, their_values = theirs[name].chunk(3)
            weights, theirs[name] = torch.cat([queries, values]), torch.cat([their_queries, their_values])
        torch.testing.assert_close(theirs[name], weights, atol=3e-5, rtol=1e-5, msg=name)
