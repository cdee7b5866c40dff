"""One model on all ranks: sharded (FSDP2), or a copy on each (DDP).

Weights, gradients and their sums are float32 everywhere; where model.dtype is bfloat16, the arithmetic between is not.
The first rank alone reads the model, since the others may be on nodes without it, and they get its weights layer by
layer: none but the first ever holds all of a model that is sharded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import is_flash_attn_2_available
from transformers.utils.logging import set_verbosity_error

from launcher.config.training import TrainerSettings
from launcher.config.workload import DType
from launcher.workload.models.load import load_model
from launcher.workload.models.weights import as_in_files, tensors_of
from launcher.workload.ranks import World
from launcher.workload.training.lora import merged
from launcher.workload.training.rows import MicroBatch
from launcher.workload.training.scorer import Scorer, Scoring, Terms


def read_model(name: str, ranks: World, dtype: DType) -> PreTrainedModel:
    """The model, with weights on the first rank and without memory for them on the others. Raises UserError."""
    flash = ranks.device.type == "cuda" and dtype == "bfloat16" and is_flash_attn_2_available()
    attention = "flash_attention_2" if flash else None
    model = load_model(name, attention=attention) if ranks.is_first else None
    if model is None or ranks.count > 1:
        config = ranks.from_first(lambda: cast(PreTrainedModel, model).config)
        if model is None:
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention)
    set_verbosity_error()  # it would warn of padding wherever a sequence ends with the token that is used for it
    model.eval()  # no dropout: a policy that is trained is the one that sampled
    return model


class ParallelScorer:
    """The scorer on all ranks. Its loss is a sum over them, of which each rank makes its part."""

    def __init__(self, scorer: Scorer, ranks: World, config: TrainerSettings) -> None:
        self.scorer, self.ranks = scorer, ranks
        self.dtype = cast(torch.dtype, getattr(torch, config.model.dtype))
        self.is_sharded = ranks.count > 1 and config.parallel == "fsdp"
        for layer in decoder_layers(scorer.model):
            _wrap(layer, config)
        self.module: nn.Module = scorer
        if self.is_sharded:
            _shard(scorer, ranks, self.dtype)
        else:
            _place(scorer, ranks)
            if ranks.count > 1 and any(one.requires_grad for one in scorer.parameters()):
                self.module = DistributedDataParallel(scorer, broadcast_buffers=False)

    def __call__(self, batch: MicroBatch, scoring: Scoring) -> tuple[Tensor, Terms]:
        """This rank's part of the loss, and the terms of its tokens."""
        narrow = not self.is_sharded and self.dtype != torch.float32  # FSDP casts by itself
        # no cache: it would keep a copy of the head for each part of the logits
        with torch.autocast(self.ranks.device.type, self.dtype, enabled=narrow, cache_enabled=False):
            loss, terms = self.module(batch.to(self.ranks.device), scoring)
        return loss, terms

    @contextmanager
    def accumulating(self, is_last: bool) -> Iterator[None]:
        """Around the backward pass of a micro-batch, forward pass included. DDP sums over ranks in the last one alone.

        FSDP does in each: whole gradients of a model that is sharded would take too much memory.
        """
        if isinstance(self.module, DistributedDataParallel) and not is_last:
            with self.module.no_sync():
                yield
        else:
            yield

    def backward(self, loss: Tensor) -> None:
        torch.autograd.backward(loss * self.ranks.count)  # DDP and FSDP take the mean over the ranks

    def weights(self) -> dict[str, Tensor]:
        """All weights in model.dtype, as files have them, on the first rank; on the others nothing.

        All ranks must call it.
        """
        found = {}
        for name, tensor in tensors_of(self.scorer.model).items():
            whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if self.ranks.is_first:
                found[name] = whole.cpu()
        if found and self.scorer.has_adapters:
            found = merged(self.scorer.model, found)
        return as_in_files(self.scorer.model, {name: tensor.to(self.dtype) for name, tensor in found.items()})


def _shard(scorer: Scorer, ranks: World, dtype: torch.dtype) -> None:
    mesh = init_device_mesh(ranks.device.type, (ranks.count,))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for part in (*decoder_layers(scorer.model), scorer):
        _place(part, ranks)
        fully_shard(part, mesh=mesh, mp_policy=policy)


def _wrap(layer: nn.Module, config: TrainerSettings) -> None:
    """Replace how a layer is computed; FSDP's hooks stay outside."""
    if config.activation_checkpointing:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
    if config.compile:
        layer.forward = torch.compile(layer.forward)


def decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    names = set(model._no_split_modules or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def _place(module: nn.Module, ranks: World) -> None:
    """Bring what is not sharded yet to the device, on all ranks as the first has it. Tied weights stay tied."""
    placed: dict[int, Tensor] = {}
    for part in module.modules():
        for kept in cast(tuple[dict[str, Tensor | None], ...], (part._parameters, part._buffers)):
            for name, tensor in kept.items():
                if tensor is not None and not isinstance(tensor, DTensor):
                    if id(tensor) not in placed:
                        placed[id(tensor)] = _as_first_has_it(tensor, ranks)
                    kept[name] = placed[id(tensor)]


def _as_first_has_it(tensor: Tensor, ranks: World) -> Tensor:
    there = torch.empty_like(tensor, device=ranks.device) if tensor.is_meta else tensor.detach().to(ranks.device)
    if ranks.count > 1:
        there = there.contiguous()
        dist.broadcast(there, src=0)
    return nn.Parameter(there, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else there
