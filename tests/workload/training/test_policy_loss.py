"""The formulas, written out once more in numpy."""

import math
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from launcher.config.training import PolicyLossConfig
from launcher.errors import UserError
from launcher.workload.rollout.handover import Batch, make_batch, sample_of
from launcher.workload.training.policy_loss import PolicyTokens, find_loss, policy_terms, sequences_in, token_terms

ONLY_RATIO: dict[str, Any] = {"entropy": 0, "exploration": 0}
Array = NDArray[np.float64]


def random_tokens(count: int = 40, vocabulary: int = 7) -> tuple[Array, NDArray[np.int64], Array, Array, Array]:
    """Logits (C, V), tokens, log-probabilities of sampler and reference, advantages."""
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(count, vocabulary))
    tokens = draw.integers(0, vocabulary, count)
    own = log_softmax(logits)[np.arange(count), tokens]
    return logits, tokens, own + draw.normal(size=count), own + draw.normal(size=count), draw.normal(size=count)


def log_softmax(logits: Array) -> Array:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def ours(config: PolicyLossConfig, with_reference: bool = False) -> tuple[dict[str, Array], Array]:
    """All terms, and the gradient of the summed loss in the logits."""
    logits, tokens, sampled, reference, advantages = random_tokens()
    given = torch.tensor(logits, requires_grad=True)
    of_reference = torch.tensor(reference) if with_reference else None
    of_tokens = (torch.tensor(tokens), torch.tensor(sampled), torch.tensor(advantages))
    terms = token_terms(given, *of_tokens, of_reference, config, find_loss(config))
    terms["loss"].sum().backward()
    assert given.grad is not None
    return {name: term.detach().numpy() for name, term in terms.items()}, given.grad.numpy()


def numerical_gradient(loss: Any, logits: Array) -> Array:
    found = np.zeros_like(logits)
    for index in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-6
        found[index] = (loss(logits + step) - loss(logits - step)) / 2e-6
    return found


def test_clipped_ratios_entropy_and_exploration_are_the_formulas_of_their_papers() -> None:
    config = PolicyLossConfig(clip_low=0.2, clip_high=0.28, entropy=0.03, exploration=0.02)
    logits, tokens, sampled, _, advantages = random_tokens()

    def loss(logits: Array) -> Array:
        logprobs = log_softmax(logits)
        ratio = np.exp(logprobs[np.arange(40), tokens] - sampled)
        surrogate = np.minimum(ratio * advantages, np.clip(ratio, 0.8, 1.28) * advantages)
        entropy = -(np.exp(logprobs) * logprobs).sum(-1)
        return -surrogate - 0.03 * entropy - 0.02 * logprobs.mean(-1)  # type: ignore[no-any-return]

    terms, gradient = ours(config)
    np.testing.assert_allclose(terms["loss"], loss(logits), rtol=1e-9)
    np.testing.assert_allclose(gradient, numerical_gradient(lambda x: loss(x).sum(), logits), atol=1e-6)


def test_truncated_importance_sampling_is_the_policy_gradient_with_bounded_weights() -> None:
    logits, tokens, sampled, _, advantages = random_tokens()
    own = log_softmax(logits)[np.arange(40), tokens]
    weights = np.minimum(np.exp(own - sampled), 1.5)
    terms, gradient = ours(PolicyLossConfig(truncate=1.5, **ONLY_RATIO))
    np.testing.assert_allclose(terms["loss"], -weights * advantages * own, rtol=1e-9)
    of_logprob = np.eye(7)[tokens] - np.exp(log_softmax(logits))  # of log p(token) in the logits
    np.testing.assert_allclose(gradient, (-weights * advantages)[:, None] * of_logprob, rtol=1e-7)
    np.testing.assert_array_equal(terms["policy/clip_fraction"], np.exp(own - sampled) > 1.5)


def test_the_divergence_from_the_reference_is_k3() -> None:
    logits, tokens, _, reference, _ = random_tokens()

    def away(logits: Array) -> Array:
        log_ratio = reference - log_softmax(logits)[np.arange(40), tokens]
        return np.exp(log_ratio) - log_ratio - 1  # type: ignore[no-any-return]

    with_it, gradient = ours(PolicyLossConfig(kl=0.5), with_reference=True)
    without, plain = ours(PolicyLossConfig())
    np.testing.assert_allclose(with_it["policy/kl_reference"], away(logits), rtol=1e-9)
    np.testing.assert_allclose(with_it["loss"] - without["loss"], 0.5 * away(logits), rtol=1e-7)
    expected = numerical_gradient(lambda x: 0.5 * away(x).sum(), logits)
    np.testing.assert_allclose(gradient - plain, expected, atol=1e-6)


def test_metrics_are_those_of_the_ratio_between_trainer_and_server() -> None:
    logits, tokens, sampled, _, advantages = random_tokens()
    log_ratio = log_softmax(logits)[np.arange(40), tokens] - sampled
    terms, _ = ours(PolicyLossConfig(**ONLY_RATIO))
    np.testing.assert_allclose(terms["policy/ratio"], np.exp(log_ratio), rtol=1e-9)
    np.testing.assert_allclose(terms["policy/logprob_difference"], np.abs(log_ratio), rtol=1e-9)
    np.testing.assert_allclose(terms["policy/kl"], np.exp(log_ratio) - 1 - log_ratio, rtol=1e-7, atol=1e-12)
    bounded = np.where(advantages > 0, np.exp(log_ratio) > 1.28, np.exp(log_ratio) < 0.8)
    np.testing.assert_array_equal(terms["policy/clip_fraction"], bounded)


@pytest.mark.parametrize(
    ("new", "old", "advantage", "loss"),
    [
        (0.3, 0.3, 2.0, -2.0),
        (0.6, 0.3, 1.0, -1.28),  # ratio 2 earns no more than 1.28
        (0.6, 0.3, -1.0, 2.0),  # but costs all of it
        (0.3, 0.6, -1.0, 0.8),  # ratio 0.5 is forgiven no less than 0.8
        (0.3, 0.6, 1.0, -0.5),
    ],
)
def test_ratios_are_clipped_where_clipping_is_pessimistic(
    new: float, old: float, advantage: float, loss: float
) -> None:
    logits, config = torch.tensor([[math.log(new), math.log(1 - new)]]), PolicyLossConfig(**ONLY_RATIO)
    others = (torch.tensor([0]), torch.tensor([math.log(old)]), torch.tensor([advantage]), None)
    assert float(token_terms(logits, *others, config, find_loss(config))["loss"]) == pytest.approx(loss)


# --- a batch ----------------------------------------------------------------------------------------------------------


def batch() -> Batch:
    samples = [sample_of([1, 2], [3], [-0.5], 0), sample_of([1], [4, 5, 6], [-0.1, -0.2, -0.3], 0)]
    return make_batch(samples, [1.0, -1.0], temperature=1.0)


@pytest.mark.parametrize(
    ("normalise", "weights"),
    [
        ("tokens", [0, 0, 1 / 4, 0, 1 / 4, 1 / 4, 1 / 4]),
        ("sequences", [0, 0, 1 / 2, 0, 1 / 6, 1 / 6, 1 / 6]),
    ],
)
def test_tokens_are_weighted_by_the_batch_or_by_their_sample(normalise: Any, weights: list[float]) -> None:
    assert sequences_in(batch(), PolicyLossConfig(normalise=normalise)).weights.tolist() == pytest.approx(weights)


def test_every_token_has_its_samples_advantage_and_its_own_log_probability() -> None:
    seen: list[PolicyTokens] = []

    def loss(tokens: PolicyTokens, config: PolicyLossConfig) -> Tensor:
        seen.append(tokens)
        return tokens.logprobs

    sys.modules["loss_of_this_test"] = type(sys)("loss_of_this_test")
    sys.modules["loss_of_this_test"].mine = loss  # type: ignore[attr-defined]
    config = PolicyLossConfig(target="loss_of_this_test:mine", **ONLY_RATIO)
    sequences = sequences_in(batch(), config)
    terms = policy_terms(batch(), sequences.owners, config, torch.device("cpu"), None)
    at = torch.tensor([2, 4, 6])
    found = terms(torch.zeros(3, 10), at)["loss"]
    assert seen[0].advantages.tolist() == [1.0, -1.0, -1.0]
    assert seen[0].sampled.tolist() == pytest.approx([-0.5, -0.1, -0.3])
    assert found.tolist() == pytest.approx([-math.log(10)] * 3)


def test_a_loss_of_the_users_gives_one_value_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "loss_of_this_test", SimpleNamespace(mine=lambda tokens, _: tokens.logprobs.mean())
    )
    config = PolicyLossConfig(target="loss_of_this_test:mine", **ONLY_RATIO)
    terms = policy_terms(batch(), sequences_in(batch(), config).owners, config, torch.device("cpu"), None)
    with pytest.raises(UserError, match=r"loss_of_this_test:mine has given a tensor of shape \[\]\n.* shape \[3\]"):
        terms(torch.zeros(3, 10), torch.tensor([2, 4, 6]))


def test_a_loss_of_the_users_without_a_gradient_is_refused_unless_another_term_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = SimpleNamespace(mine=lambda tokens, _: tokens.logprobs.detach())
    monkeypatch.setitem(sys.modules, "loss_of_this_test", mine)
    logits, at = torch.zeros(3, 10, requires_grad=True), torch.tensor([2, 4, 6])
    for more, is_refused in ((ONLY_RATIO, True), (ONLY_RATIO | {"entropy": 0.1}, False)):
        config = PolicyLossConfig(target="loss_of_this_test:mine", **more)
        terms = policy_terms(batch(), sequences_in(batch(), config).owners, config, torch.device("cpu"), None)
        with pytest.raises(UserError, match="loss_of_this_test:mine has no gradient") if is_refused else nullcontext():
            terms(logits, at)


@pytest.mark.parametrize("target", ["nothing", ".losses:mine", "no_such_module:loss", "math:no_such_loss"])
def test_a_loss_that_is_not_there_is_refused(target: str) -> None:
    with pytest.raises(UserError, match="there is no loss"):
        find_loss(PolicyLossConfig(target=target))


def test_a_batch_without_any_sampled_token_is_refused(tmp_path: Path) -> None:
    empty = make_batch([sample_of([1, 2], [], [], 0)], [1.0], temperature=1.0)
    with pytest.raises(UserError, match="no sampled token"):
        sequences_in(empty, PolicyLossConfig())
