"""Sample many completions at once: one pass over all prompts, then one token a pass with a cache of keys and values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import torch
import torch.nn.functional as F
from torch import Tensor

from launcher.workload.model import Cache, Transformer
from launcher.workload.tokens import END

COLD = 1e-5  # temperatures below would overflow


@dataclass(frozen=True)
class SamplingRequest:
    """One completion to sample. `draws` (max_tokens,) decide it: one number in [0, 1) a token."""

    prompt: list[int]  # with END in front
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
    """A completion: its tokens, END among them if it came, and the log-probability each one was sampled with."""

    tokens: list[int]
    logprobs: list[float]


@torch.inference_mode()
def generate(
    model: Transformer, wanted: list[SamplingRequest], is_awaited: Callable[[], bool] = lambda: True
) -> list[Sampled]:
    """Sample what is wanted, in the same order; temperatures and lengths may differ.

    Log-probabilities are those of the tempered distribution that was sampled from, at temperature 0 the model's own.
    Ends early, with completions that are cut short, once `is_awaited` says that nobody waits for any of them.
    """
    device = model.token.weight.device
    longest = max(len(one.prompt) for one in wanted)
    steps = max(one.max_tokens for one in wanted)
    padding = torch.tensor([longest - len(one.prompt) for one in wanted], device=device)  # (B,)
    tokens = torch.tensor([[END] * (longest - len(one.prompt)) + one.prompt for one in wanted], device=device)  # (B, T)
    draws = torch.stack([F.pad(one.draws, (0, steps - one.max_tokens)) for one in wanted], 1).to(device)  # (max, B)
    temperature = torch.tensor([one.temperature for one in wanted], device=device)[:, None]  # (B, 1)
    limit = torch.tensor([one.max_tokens for one in wanted], device=device)

    cache = Cache(model.shape, len(wanted), longest + steps, like=model.token.weight)
    columns = torch.arange(longest + steps, device=device)
    real = columns >= padding[:, None]  # (B, S): no padding
    causal = columns[:longest] <= columns[:longest, None]  # (T, T)
    # a padding token looks at itself, or its softmax would be over nothing
    mask = (real[:, None, :longest] & causal) | torch.eye(longest, dtype=torch.bool, device=device)  # (B, T, T)
    positions = (columns[:longest] - padding[:, None]).clamp(min=0)  # (B, T)
    logits = model(tokens, -1, cache, mask[:, None], positions)[:, 0]  # (B, V)

    chosen, chosen_logprobs = [], []
    done = torch.zeros(len(wanted), dtype=torch.bool, device=device)
    for step in range(steps):
        token, logprob = _sample(logits.float(), temperature, draws[step])
        chosen.append(token)
        chosen_logprobs.append(logprob)
        done |= (token == END) | (limit == step + 1)
        if done.all() or not is_awaited():
            break
        used = longest + step + 1
        # a row that is done goes on with the others, and must not leave the context
        position = (used - 1 - padding).clamp(max=model.shape.context - 1)  # (B,)
        logits = model(token[:, None], 0, cache, real[:, None, None, :used], position[:, None])[:, 0]
    return _cut(torch.stack(chosen, 1).tolist(), torch.stack(chosen_logprobs, 1).tolist(), wanted)


def _sample(logits: Tensor, temperature: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
    """One token (B,) and its log-probability (B,) from logits (B, V), by inverting the distribution function."""
    greedy = temperature < COLD
    logprobs = (logits / temperature.masked_fill(greedy, 1.0)).log_softmax(-1)  # (B, V)
    cumulative = logprobs.double().exp().cumsum(-1)
    drawn = torch.searchsorted(cumulative, draw[:, None] * cumulative[:, -1:], right=True)  # (B, 1)
    drawn = drawn.clamp(max=logits.shape[-1] - 1)
    token = torch.where(greedy, logits.argmax(-1, keepdim=True), drawn)
    return token[:, 0], logprobs.gather(1, token)[:, 0]


def _cut(tokens: list[list[int]], logprobs: list[list[float]], wanted: Sequence[SamplingRequest]) -> list[Sampled]:
    """Each row up to its END or its own limit."""
    sampled = []
    for row, row_logprobs, one in zip(tokens, logprobs, wanted, strict=True):
        length = min(row.index(END) + 1 if END in row else len(row), one.max_tokens)
        sampled.append(Sampled(row[:length], row_logprobs[:length]))
    return sampled
