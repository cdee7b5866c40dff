"""A causal transformer over bytes.

Pre-norm blocks, learned positions, untied head; no dropout, no grouped heads, no mixed precision beyond one dtype for
everything. Small enough to be trained from random weights on a laptop, and written to be read from top to bottom.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from launcher.workload.tokens import VOCABULARY


@dataclass(frozen=True)
class ModelShape:
    """What decides which weights a model has; `config.json` of a checkpoint."""

    layers: int
    dim: int
    heads: int
    context: int


class Cache:
    """Keys and values of all tokens seen so far, for one batch of sequences that grow together."""

    def __init__(self, shape: ModelShape, batch: int, length: int, like: Tensor) -> None:
        size = (shape.layers, batch, shape.heads, length, shape.dim // shape.heads)
        self.keys, self.values = like.new_zeros(size), like.new_zeros(size)  # (L, B, H, S, D)
        self.used = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add a layer's keys and values (B, H, T, D); all of them so far come back, (B, H, used + T, D)."""
        end = self.used + keys.shape[2]
        self.keys[layer, :, :, self.used : end] = keys
        self.values[layer, :, :, self.used : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class Attention(nn.Module):
    """Causal self-attention, (B, T, C) to (B, T, C)."""

    def __init__(self, shape: ModelShape, layer: int) -> None:
        super().__init__()
        self.heads, self.layer = shape.heads, layer
        self.qkv = nn.Linear(shape.dim, 3 * shape.dim, bias=False)
        self.out = nn.Linear(shape.dim, shape.dim, bias=False)

    def forward(self, x: Tensor, cache: Cache | None, mask: Tensor | None) -> Tensor:
        batch, time, dim = x.shape
        q, k, v = self.qkv(x).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        y = y.transpose(1, 2).reshape(batch, time, dim)
        return self.out(y)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and a feed-forward layer, each added to the residual stream (B, T, C)."""

    def __init__(self, shape: ModelShape, layer: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(shape.dim), nn.RMSNorm(shape.dim)
        self.attention = Attention(shape, layer)
        self.up = nn.Linear(shape.dim, 4 * shape.dim, bias=False)
        self.down = nn.Linear(4 * shape.dim, shape.dim, bias=False)

    def forward(self, x: Tensor, cache: Cache | None, mask: Tensor | None) -> Tensor:
        x = x + self.attention(self.norm1(x), cache, mask)
        return x + self.down(F.gelu(self.up(self.norm2(x))))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Tokens (B, T) to the logits (B, T, V) of the tokens that follow them."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.token = nn.Embedding(VOCABULARY, shape.dim)
        self.position = nn.Embedding(shape.context, shape.dim)
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.norm = nn.RMSNorm(shape.dim)
        self.head = nn.Linear(shape.dim, VOCABULARY, bias=False)
        self.apply(_initialise)

    def forward(
        self,
        tokens: Tensor,
        since: int = 0,
        cache: Cache | None = None,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, T - since, V) of the token after each of `tokens` (B, T), from column `since` on.

        Without a mask attention is causal; a mask (B, 1, T, S) is true where a token may look, S counting what the
        cache already holds. Positions (B, T) are given where the sequences do not all begin in the first column.
        """
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.token(tokens) + self.position(positions)  # (B, T, C)
        for block in self.blocks:
            x = block(x, cache, mask)
        if cache is not None:
            cache.used += tokens.shape[1]
        return self.head(self.norm(x[:, since:]))  # type: ignore[no-any-return]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.1)
