import torch
from launcher.workload.generate import Sampled, SamplingRequest, generate
from launcher.workload.tokens import END, encode
from launcher.workload.weights import build_model

from tests.workload.running import TINY

MODEL = build_model(TINY, seed=0).eval()


def wanted(prompt: str, max_tokens: int, temperature: float = 1.0, seed: int = 0) -> SamplingRequest:
    draws = torch.rand(max_tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return SamplingRequest([END, *encode(prompt)], temperature, draws)


def logprobs_without_cache(one: SamplingRequest, sampled: Sampled) -> torch.Tensor:
    tokens = torch.tensor([one.prompt + sampled.tokens])  # (1, T)
    logits = MODEL(tokens[:, :-1], len(one.prompt) - 1)[0] / (one.temperature or 1.0)
    return logits.log_softmax(-1).gather(1, tokens[0, len(one.prompt) :, None])[:, 0]


def test_logprobs_are_those_of_a_pass_without_cache_and_padding() -> None:
    batch = [wanted("a", 5), wanted("abcdefgh", 9, 0.5, seed=1), wanted("", 3, 2.0, seed=2), wanted("xyz", 6, 0.0)]
    for one, sampled in zip(batch, generate(MODEL, batch), strict=True):
        assert len(sampled.tokens) <= one.max_tokens
        torch.testing.assert_close(torch.tensor(sampled.logprobs), logprobs_without_cache(one, sampled))


def test_a_sample_does_not_depend_on_what_it_is_batched_with() -> None:
    one = wanted("abc", 8, seed=5)
    others = [wanted("a much longer prompt", 12, seed=seed) for seed in range(7)]
    assert generate(MODEL, [*others, one])[-1].tokens == generate(MODEL, [one])[0].tokens


def test_temperature_zero_takes_the_likeliest_token_whatever_the_luck() -> None:
    cold = [(temperature, seed) for temperature in (0, 1e-30) for seed in (0, 1)]
    greedy = [generate(MODEL, [wanted("abc", 6, temperature, seed)])[0] for temperature, seed in cold]
    assert all(one.tokens == greedy[0].tokens for one in greedy)


def test_samples_follow_the_models_distribution() -> None:
    first = [one.tokens[0] for one in generate(MODEL, [wanted("q", 1, seed=seed) for seed in range(4000)])]
    probabilities = MODEL(torch.tensor([[END, *encode("q")]]))[0, -1].softmax(-1)
    counts = torch.bincount(torch.tensor(first), minlength=len(probabilities))
    chi_square = ((counts - 4000 * probabilities) ** 2 / (4000 * probabilities)).sum()
    assert chi_square < 256 + 5 * (2 * 256) ** 0.5


def test_rows_that_fill_the_context_in_turns_fit_in_one_batch() -> None:
    long_prompt, long_completion = wanted("p" * (TINY.context - 2), 1), wanted("", TINY.context - 1)
    sampled = generate(MODEL, [long_prompt, long_completion])
    assert len(sampled[0].tokens) == 1


def test_nothing_comes_after_the_end() -> None:
    for one in generate(MODEL, [wanted("a", 20, 2.0, seed) for seed in range(300)]):
        assert END not in one.tokens[:-1]
