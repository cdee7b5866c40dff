"""Sample many completions at once: a pass over each prompt, then one token a pass with a cache of keys and values.

The model's own `generate` is not used: it draws for all rows from one stream of random numbers, so that a seed would
mean something else in every batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from launcher.workload.models.load import context_of

COLD = 1e-5  # temperatures below would overflow


@dataclass(frozen=True)
class SamplingRequest:
    """One completion to sample. `draws` (max_tokens,) decide it: one number in [0, 1) a token."""

    prompt: list[int]  # at least one token
    temperature: float  # 0, or anything below COLD, takes the likeliest token
    draws: Tensor

    @property
    def max_tokens(self) -> int:
        return len(self.draws)


@dataclass(frozen=True)
class Completions(Sequence[SamplingRequest]):
    """`n` completions of each prompt, made one by one when they are looked at: one request may want thousands."""

    prompts: list[list[int]]
    n: int
    temperature: float
    draws: Tensor  # (prompts * n, max_tokens)

    def __len__(self) -> int:
        return len(self.prompts) * self.n

    @overload
    def __getitem__(self, at: int) -> SamplingRequest: ...
    @overload
    def __getitem__(self, at: slice) -> list[SamplingRequest]: ...
    def __getitem__(self, at: int | slice) -> SamplingRequest | list[SamplingRequest]:
        if isinstance(at, slice):
            return [self[index] for index in range(*at.indices(len(self)))]
        if not 0 <= at < len(self):
            raise IndexError(at)
        return SamplingRequest(self.prompts[at // self.n], self.temperature, self.draws[at])


@dataclass(frozen=True)
class Sampled:
    """A completion: its tokens, the end token among them if it came, and the log-probability of each."""

    tokens: list[int]
    logprobs: list[float]


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    ends: frozenset[int],
    wanted: Sequence[SamplingRequest],
    is_awaited: Callable[[], bool] = lambda: True,
) -> list[Sampled]:
    """Sample what is wanted, in the same order; temperatures and lengths may differ. `ends` end a completion.

    Log-probabilities are those of the tempered distribution that was sampled from, at temperature 0 the model's own.
    Ends early, with completions that are cut short, once `is_awaited` says that nobody waits for any of them.
    """
    device, steps = model.device, max(one.max_tokens for one in wanted)
    draws = torch.stack([F.pad(one.draws, (0, steps - one.max_tokens)) for one in wanted], 1).to(device)  # (max, B)
    temperature = torch.tensor([one.temperature for one in wanted], device=device)[:, None]  # (B, 1)
    limit = torch.tensor([one.max_tokens for one in wanted], device=device)
    end = torch.tensor(sorted(ends), device=device)

    passes = _Passes(model, [one.prompt for one in wanted], steps)
    chosen, chosen_logprobs = [], []
    done = torch.zeros(len(wanted), dtype=torch.bool, device=device)
    for step in range(steps):
        token, logprob = _sample(passes.logits.float(), temperature, draws[step])
        chosen.append(token)
        chosen_logprobs.append(logprob)
        done |= torch.isin(token, end) | (limit == step + 1)
        if done.all() or not is_awaited():
            break
        passes.take(token)
    return _cut(torch.stack(chosen, 1).tolist(), torch.stack(chosen_logprobs, 1).tolist(), wanted, ends)


class _Passes:
    """The model's passes over a batch whose prompts are padded on the left. `logits` (B, V) are those of the newest."""

    def __init__(self, model: PreTrainedModel, prompts: list[list[int]], steps: int) -> None:
        self.model, self.last = model, context_of(model) - 1
        self.cache = DynamicCache(config=model.config)
        takes_cache = "cache" in signature(model.forward).parameters  # its name from transformers 5.24 on
        self.keeping: dict[str, Any] = {"cache" if takes_cache else "past_key_values": self.cache}
        distinct = {tuple(prompt): row for row, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
        longest = max(map(len, distinct))
        padding = torch.tensor([longest - len(prompt) for prompt in distinct])  # (P,)
        tokens = torch.tensor([[0] * (longest - len(prompt)) + [*prompt] for prompt in distinct])  # (P, T)
        columns = torch.arange(longest + steps)
        real = (columns >= padding[:, None]).to(model.device)  # (P, S): no padding
        self.real, self.used = real, longest
        self.positions = (columns[:longest] - padding[:, None]).clamp(min=0).to(model.device)  # (P, T)
        self.logits = self._forward(tokens.to(model.device))  # (P, V), soon (B, V)
        rows = torch.tensor([distinct[tuple(prompt)] for prompt in prompts], device=model.device)  # (B,)
        self._repeat(rows)

    def _repeat(self, rows: Tensor) -> None:
        """A row for each completion from its prompt's."""
        if len(rows) != len(self.logits) or not torch.equal(rows, torch.arange(len(rows), device=rows.device)):
            self.cache.batch_select_indices(rows)
            self.logits, self.real, self.positions = self.logits[rows], self.real[rows], self.positions[rows]
        self.positions = self.positions[:, -1:]

    def take(self, token: Tensor) -> None:
        """One more token of each row (B,)."""
        self.used += 1
        # a finished row is computed with the others, and must not leave the context
        self.positions = (self.positions + 1).clamp(max=self.last)
        self.logits = self._forward(token[:, None])

    def _forward(self, tokens: Tensor) -> Tensor:
        out = self.model(
            input_ids=tokens,
            attention_mask=self.real[:, : self.used],
            position_ids=self.positions,
            use_cache=True,
            **self.keeping,
            logits_to_keep=1,
        )
        logits: Tensor = out.logits[:, 0]
        return logits


def _sample(logits: Tensor, temperature: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
    """One token (B,) and its log-probability (B,) from logits (B, V), by inverting the distribution function."""
    greedy = temperature < COLD
    logprobs = (logits / temperature.masked_fill(greedy, 1.0)).log_softmax(-1)  # (B, V)
    cumulative = logprobs.double().exp().cumsum(-1)
    drawn = torch.searchsorted(cumulative, draw[:, None] * cumulative[:, -1:], right=True)  # (B, 1)
    drawn = drawn.clamp(max=logits.shape[-1] - 1)
    token = torch.where(greedy, logits.argmax(-1, keepdim=True), drawn)
    return token[:, 0], logprobs.gather(1, token)[:, 0]


def _cut(
    tokens: list[list[int]], logprobs: list[list[float]], wanted: Sequence[SamplingRequest], ends: frozenset[int]
) -> list[Sampled]:
    """Each row up to its end token or its own limit."""
    sampled = []
    for row, row_logprobs, one in zip(tokens, logprobs, wanted, strict=True):
        ended = (at + 1 for at, token in enumerate(row) if token in ends)
        length = min(next(ended, len(row)), one.max_tokens)
        sampled.append(Sampled(row[:length], row_logprobs[:length]))
    return sampled
