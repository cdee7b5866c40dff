"""What every token of a completion adds to the loss of reinforcement learning. Each formula with its source.

With r = p(token) / p_sampled(token), the importance ratio of the policy against the one that sampled, and A, the
advantage of the completion:

- clipped (the default): -min(r A, clip(r, 1 - low, 1 + high) A); PPO (Schulman et al., 2017, eq. 7) with the
  asymmetric bounds of DAPO (Yu et al., 2025, eq. 10).
- truncated (loss.truncate C): -sg(min(r, C)) A log p; truncated importance sampling (Ionides, 2008; between sampler
  and trainer: Yao et al., 2025, "Your efficient RL framework secretly brings you off-policy RL training"). It corrects
  for a server whose arithmetic differs, and drops no token's gradient.
- loss.target module:function: yours, in their place.

Three terms are added, each with its weight: an entropy bonus; the cross-entropy from the uniform distribution, which
pulls at every token alike where the bonus pulls in proportion to its probability, so that a letter which went
unrewarded early is never lost for good; and the KL divergence to the model that the run started from, estimated as
q/p - 1 - log(q/p) (GRPO: Shao et al., 2024, eq. 4; k3 of Schulman, 2020, "Approximating KL divergence").

The sum over tokens is weighted by 1 / tokens of the batch (DAPO, eq. 12), or with loss.normalise sequences by 1 /
(samples x tokens of the sample) (GRPO, eq. 3), which learns less from a token of a long completion.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from launcher.config.training import PolicyLossConfig
from launcher.errors import UserError
from launcher.workload.rollout.handover import Batch
from launcher.workload.training.scorer import Terms, TokenTerms
from launcher.workload.training.sequences import Sequences, sequences_of


@dataclass(frozen=True)
class PolicyTokens:
    """What a loss may know of C tokens, each (C,). Gradients flow through the first three."""

    logprobs: Tensor  # under the policy
    entropy: Tensor  # of the policy's distribution at this token
    mean_logprobs: Tensor  # over the whole vocabulary
    sampled: Tensor  # log-probabilities under the policy that sampled, as the server has told them
    advantages: Tensor
    reference: Tensor | None  # log-probabilities under the model that the run started from; None without loss.kl

    @property
    def ratio(self) -> Tensor:
        return (self.logprobs - self.sampled).exp()


PolicyLoss = Callable[[PolicyTokens, PolicyLossConfig], Tensor]
"""The loss of each token (C,), to which the terms for exploration and for the reference are added."""


def clipped(tokens: PolicyTokens, config: PolicyLossConfig) -> Tensor:
    bounded = tokens.ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    return -torch.minimum(tokens.ratio * tokens.advantages, bounded * tokens.advantages)


def truncated(tokens: PolicyTokens, config: PolicyLossConfig) -> Tensor:
    return -tokens.ratio.detach().clamp(max=config.truncate) * tokens.advantages * tokens.logprobs


def find_loss(config: PolicyLossConfig) -> PolicyLoss:
    """The loss that the configuration names. Raises UserError when there is none at loss.target."""
    if config.target is None:
        return truncated if config.truncate else clipped
    module, _, name = config.target.partition(":")
    try:
        return _checked(getattr(import_module(module), name), config.target)
    except (ImportError, AttributeError, ValueError, TypeError) as error:  # TypeError: a relative module
        hint = "it is module:function, and the module must be importable from the working directory"
        raise UserError(f"there is no loss {config.target!r}: {error}", hint) from error


def _checked(loss: PolicyLoss, name: str) -> PolicyLoss:
    """A loss of the user's, whose result is looked at: one number would count as often as there are tokens."""

    def checked(tokens: PolicyTokens, config: PolicyLossConfig) -> Tensor:
        found = loss(tokens, config)
        if not isinstance(found, Tensor) or found.shape != tokens.logprobs.shape:
            what = f"a tensor of shape {[*found.shape]}" if isinstance(found, Tensor) else repr(type(found).__name__)
            hint = f"it must give one value a token: a tensor of shape {[*tokens.logprobs.shape]}"
            raise UserError(f"the loss {name} has given {what}", hint)
        return found

    return checked


# --- a batch ----------------------------------------------------------------------------------------------------------


def sequences_in(batch: Batch, config: PolicyLossConfig) -> Sequences:
    """The batch's samples, their tokens weighted so that the loss is a mean. Raises UserError when none is learned."""
    sequences = sequences_of(batch.lengths, batch.tokens, batch.loss_mask)
    learned = sequences.weights > 0
    if not learned.any():
        raise UserError("a batch has no sampled token to learn from")
    if config.normalise == "tokens":
        sequences.weights[learned] = 1 / learned.sum()
    else:
        of_samples = np.bincount(sequences.owners[learned], minlength=len(batch.lengths))
        sequences.weights[learned] = 1 / (len(batch.lengths) * of_samples[sequences.owners[learned]])
    return sequences


def policy_terms(
    batch: Batch, owners: NDArray[np.int64], config: PolicyLossConfig, device: torch.device, reference: Tensor | None
) -> TokenTerms:
    """The loss and the metrics of the batch's tokens, as a function of their logits; `reference` is (T,)."""
    of_tokens = (batch.tokens.astype(np.int64), batch.logprobs, batch.advantages[owners])
    tokens, sampled, advantages = (torch.from_numpy(array).to(device) for array in of_tokens)  # each (T,)
    loss = find_loss(config)

    def terms(logits: Tensor, at: Tensor) -> Terms:
        of_reference = None if reference is None else reference[at]
        return token_terms(logits, tokens[at], sampled[at], advantages[at], of_reference, config, loss)

    return terms


def token_terms(
    logits: Tensor,
    tokens: Tensor,
    sampled: Tensor,
    advantages: Tensor,
    reference: Tensor | None,
    config: PolicyLossConfig,
    loss: PolicyLoss,
) -> Terms:
    """What every token (C,) adds, from the logits (C, V) before it."""
    logprobs = logits.log_softmax(-1)  # (C, V)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    of_tokens = logprobs.gather(1, tokens[:, None])[:, 0]
    known = PolicyTokens(of_tokens, entropy, logprobs.mean(-1), sampled, advantages, reference)
    bonus, exploration = config.entropy or 0.0, config.exploration or 0.0
    own = loss(known, config)
    if logprobs.requires_grad and not (own.requires_grad or bonus or exploration or config.kl):
        hint = "compute it from tokens.logprobs or tokens.ratio, without detach() and item()"
        raise UserError(f"the loss {config.target} has no gradient: nothing would be learned from it", hint)
    total = own - bonus * entropy - exploration * known.mean_logprobs
    ratio, log_ratio = known.ratio.detach(), of_tokens.detach() - sampled
    terms = {
        "policy/ratio": ratio,
        "policy/clip_fraction": is_bounded(ratio, advantages, config).float(),
        "policy/entropy": entropy.detach(),
        "policy/kl": ratio - 1 - log_ratio,
        "policy/logprob_difference": log_ratio.abs(),
    }
    if reference is not None:
        log_away = reference - of_tokens
        away = log_away.exp() - 1 - log_away
        total = total + config.kl * away
        terms["policy/kl_reference"] = away.detach()
    return {"loss": total, **terms}


def is_bounded(ratio: Tensor, advantages: Tensor, config: PolicyLossConfig) -> Tensor:
    """Which tokens' ratios are clipped, or truncated."""
    if config.truncate:
        return ratio > config.truncate
    return torch.where(advantages > 0, ratio > 1 + config.clip_high, (ratio < 1 - config.clip_low) & (advantages < 0))
