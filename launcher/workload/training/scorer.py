"""How likely a model finds tokens, without all of their logits in memory at once.

The logits of a micro-batch are often its largest tensor: 16,000 tokens and a vocabulary of 150,000 make 10 GB. Here
the head is applied to a few tokens at a time, and as a loss is a sum over tokens whose weights are known, the gradients
of each part are made at once, in the forward pass, and its logits forgotten. Nothing is computed twice for it. (Liger
Kernel does the same for cross-entropy: Hsu et al., 2024, section 3.2.)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from launcher.errors import UserError
from launcher.plan.memory import tokens_at_once
from launcher.workload.training.rows import MicroBatch, Sharing, micro_batches
from launcher.workload.training.sequences import sequences_of

TRIAL = sequences_of(
    np.array([4, 5, 8], np.int32),
    np.array([0, 1, 2, 0, 0, 1, 1, 2, 0, 2, 1, 0, 2, 0, 0, 1, 2], np.int32),
    np.array([0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1], np.bool_),
)
"""The last two fill a row beside the first, which has a prefix in common with the second."""

Terms = dict[str, Tensor]
TokenTerms = Callable[[Tensor, Tensor], Terms]
"""From logits (C, V) and the indices (C,) of the tokens that come next to what each token (C,) adds: its "loss", which
is learned from, and others, which are looked at."""


@dataclass(frozen=True)
class Scoring:
    """What is to be made of the logits: terms of each token, and the weight of its loss."""

    terms: TokenTerms
    weights: Tensor  # (T,)
    temperature: float = 1.0


class Scorer(nn.Module):
    """A causal language model and its losses. One module, so that FSDP and DDP find head and body in one forward pass.

    Raises UserError when the head is more than a linear layer (and a soft cap, as Gemma 2 has it).
    """

    def __init__(self, model: PreTrainedModel, has_adapters: bool = False) -> None:
        super().__init__()
        self.model, self.has_adapters = model, has_adapters
        self.soft_cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)

    def forward(self, batch: MicroBatch, scoring: Scoring) -> tuple[Tensor, Terms]:
        """The loss, a sum over the micro-batch's learned tokens, and the terms of each of them (M,)."""
        hidden = self._read(batch)
        found: list[Terms] = []
        head = self.head
        loss = _InParts.apply(  # type: ignore[no-untyped-call]
            hidden, head.weight, head.bias, self, batch.learned, scoring, found, torch.is_grad_enabled()
        )
        return loss, {name: torch.cat([terms[name] for terms in found]) for name in found[0]}

    def hidden(self, tokens: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """What the head reads, (B, L, D) for tokens (B, L), of which each attends to those before it or by `mask`."""
        shape = tokens.shape
        if self.model.config._attn_implementation == "flash_attention_2" and positions is not None:
            # it sees borders between sequences in a batch of one row alone
            tokens, positions = tokens.reshape(1, -1), positions.reshape(1, -1)
        # a cache would keep transformers from seeing that rows hold several sequences
        found: Tensor = self.model.base_model(
            input_ids=tokens, position_ids=positions, attention_mask=mask, use_cache=False
        ).last_hidden_state
        return found.reshape(*shape, -1)

    @property
    def head(self) -> nn.Linear:
        found = self.model.get_output_embeddings()
        assert isinstance(found, nn.Linear)
        return found

    def logits(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(C, V) in float32."""
        logits = nn.functional.linear(hidden, weight, bias).float()
        return logits if self.soft_cap is None else torch.tanh(logits / self.soft_cap) * self.soft_cap

    @torch.inference_mode()
    def check(self) -> None:
        """See whether the head is what it is taken for. Raises UserError."""
        name = type(self.model).__name__
        refused = UserError(
            f"{name} cannot be trained here: its logits are more than a linear layer over its last layer"
        )
        if not isinstance(self.model.get_output_embeddings(), nn.Linear):
            raise refused
        tokens = torch.tensor([[0, 1]], device=self.head.weight.device)
        with self._plain_attention():
            theirs = self.model(input_ids=tokens, use_cache=False).logits[0].float()
            ours = self.logits(self.hidden(tokens)[0], self.head.weight, self.head.bias)
        if not theirs.isfinite().all():
            raise UserError(f"the model's logits are not finite: {name} has weights that are NaN or far too large")
        if not torch.allclose(ours, theirs, rtol=1e-2, atol=1e-3):
            raise refused

    @torch.inference_mode()
    def sharing(self) -> Sharing:
        """What sequences may share: tried on a few, since layers that are no attention see no borders.

        With a sliding window the model has masks of its own, and flash attention takes none.
        """
        with self._plain_attention():
            apart = self._read(micro_batches(TRIAL, 0, 1, 100, packs=False)[0])
            if not _is_equal(self._read(micro_batches(TRIAL, 0, 1, 100)[0]), apart):
                return Sharing.NOTHING
        config = self.model.config
        if config._attn_implementation != "sdpa" or getattr(config.get_text_config(), "sliding_window", None):
            return Sharing.ROWS
        shared = self._read(micro_batches(TRIAL, 0, 1, 100, longest=100)[0])
        return Sharing.PREFIXES if _is_equal(shared, apart) else Sharing.ROWS

    def _read(self, batch: MicroBatch) -> Tensor:
        """What the head reads before each learned token, (M, D)."""
        batch = batch.to(self.head.weight.device)
        return self.hidden(batch.tokens, batch.positions, batch.mask).flatten(0, 1)[batch.before]

    @contextmanager
    def _plain_attention(self) -> Iterator[None]:
        """Attention that works everywhere: flash attention takes no float32 and no CPU, where a model is first."""
        config, chosen = self.model.config, self.model.config._attn_implementation
        config._attn_implementation = "eager"
        try:
            yield
        finally:
            config._attn_implementation = chosen


def _is_equal(found: Tensor, expected: Tensor) -> bool:
    """But for rounding, float32's."""
    return bool((found - expected).norm() <= 1e-4 * expected.norm())


class _InParts(torch.autograd.Function):
    """The loss of M hidden states (M, D), with its gradients, from the logits of a few of them at a time."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, hidden, weight, bias, scorer: Scorer, learned: Tensor, scoring: Scoring, found: list[Terms], learns: bool
    ) -> Tensor:
        wanted = tuple(learns and needs for needs in ctx.needs_input_grad[:3])  # which know nothing of no_grad
        inputs = (hidden, weight, bias)
        total = torch.zeros((), device=hidden.device)
        gradients = [
            torch.zeros_like(one, dtype=torch.float32) if want else None
            for one, want in zip(inputs, wanted, strict=True)
        ]
        size = tokens_at_once(len(weight))
        # one part at least, so that every term is there
        for start in range(0, max(1, len(hidden)), size):
            part = slice(start, start + size)
            loss, terms, grads = _part(hidden[part], weight, bias, scorer, learned[part], scoring, wanted)
            total += loss
            found.append(terms)
            for index, grad in enumerate(grads):
                if grad is not None:
                    into = gradients[index]
                    assert into is not None
                    (into[part] if index == 0 else into).add_(grad)
        kept = [None if one is None else one.to(like.dtype) for one, like in zip(gradients, inputs, strict=True)]
        ctx.save_for_backward(*kept)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        kept = (None if one is None else one * gradient for one in ctx.saved_tensors)
        return (*kept, None, None, None, None, None)


def _part(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scorer: Scorer,
    learned: Tensor,
    scoring: Scoring,
    wanted: tuple[bool, ...],
) -> tuple[Tensor, Terms, list[Tensor | None]]:
    """Loss, terms and gradients of a few tokens."""
    given = zip((hidden, weight, bias), wanted, strict=True)
    inputs = [None if one is None else one.detach().requires_grad_(want) for one, want in given]
    with torch.set_grad_enabled(any(wanted)):
        logits = scorer.logits(*inputs)  # type: ignore[arg-type]
        if scoring.temperature != 1:
            logits = logits / scoring.temperature
        terms = scoring.terms(logits, learned)
        loss = (terms["loss"] * scoring.weights[learned]).sum()
    asked = [one for one in inputs if one is not None and one.requires_grad]
    grads = iter(torch.autograd.grad(loss, asked)) if asked else iter(())
    made = [next(grads) if one is not None and one.requires_grad else None for one in inputs]
    return loss.detach(), {name: term.detach() for name, term in terms.items()}, made
