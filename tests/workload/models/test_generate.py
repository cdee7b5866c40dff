import torch

from launcher.workload.models.generate import Sampled, SamplingRequest, generate
from launcher.workload.models.tiny import END_TOKEN
from tests.workload.running import SHAPE, tiny

MODEL = tiny()
ENDS = frozenset({END_TOKEN})


def wanted(prompt: str, max_tokens: int, temperature: float = 1.0, seed: int = 0) -> SamplingRequest:
    draws = torch.rand(max_tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return SamplingRequest([END_TOKEN, *prompt.encode()], temperature, draws)


def logprobs_without_cache(one: SamplingRequest, sampled: Sampled) -> torch.Tensor:
    tokens = torch.tensor([one.prompt + sampled.tokens])  # (1, T)
    logits = MODEL(tokens[:, :-1]).logits[0, len(one.prompt) - 1 :] / (one.temperature or 1.0)
    return logits.log_softmax(-1).gather(1, tokens[0, len(one.prompt) :, None])[:, 0]


def test_logprobs_are_those_of_a_pass_without_cache_and_padding() -> None:
    batch = [wanted("a", 5), wanted("abcdefgh", 9, 0.5, seed=1), wanted("", 3, 2.0, seed=2), wanted("xyz", 6, 0.0)]
    for one, sampled in zip(batch, generate(MODEL, ENDS, batch), strict=True):
        assert len(sampled.tokens) <= one.max_tokens
        torch.testing.assert_close(torch.tensor(sampled.logprobs), logprobs_without_cache(one, sampled))


def test_a_sample_does_not_depend_on_what_it_is_batched_with() -> None:
    one = wanted("abc", 8, seed=5)
    others = [wanted("a much longer prompt", 12, seed=seed) for seed in range(7)]
    assert generate(MODEL, ENDS, [*others, one])[-1].tokens == generate(MODEL, ENDS, [one])[0].tokens


def test_temperature_zero_takes_the_likeliest_token_whatever_the_luck() -> None:
    cold = [(temperature, seed) for temperature in (0, 1e-30) for seed in (0, 1)]
    greedy = [generate(MODEL, ENDS, [wanted("abc", 6, temperature, seed)])[0] for temperature, seed in cold]
    assert all(one.tokens == greedy[0].tokens for one in greedy)


def test_samples_follow_the_models_distribution() -> None:
    first = [one.tokens[0] for one in generate(MODEL, ENDS, [wanted("q", 1, seed=seed) for seed in range(4000)])]
    probabilities = MODEL(torch.tensor([[END_TOKEN, *b"q"]])).logits[0, -1].softmax(-1)
    counts = torch.bincount(torch.tensor(first), minlength=len(probabilities))
    chi_square = ((counts - 4000 * probabilities) ** 2 / (4000 * probabilities)).sum()
    assert chi_square < 256 + 5 * (2 * 256) ** 0.5


def test_rows_that_fill_the_context_in_turns_fit_in_one_batch() -> None:
    long_prompt, long_completion = wanted("p" * (SHAPE.context - 2), 1), wanted("", SHAPE.context - 1)
    sampled = generate(MODEL, ENDS, [long_prompt, long_completion])
    assert len(sampled[0].tokens) == 1


def test_nothing_comes_after_the_end() -> None:
    for one in generate(MODEL, ENDS, [wanted("a", 20, 2.0, seed) for seed in range(300)]):
        assert END_TOKEN not in one.tokens[:-1]


def test_each_of_several_end_tokens_ends_a_completion() -> None:
    ends = frozenset(range(100, 200))
    sampled = generate(MODEL, ends, [wanted("a", 20, seed=seed) for seed in range(100)])
    assert len({one.tokens[-1] for one in sampled} & ends) > 10
    assert not any(set(one.tokens[:-1]) & ends for one in sampled)


def test_completions_of_one_prompt_share_its_pass_and_each_is_its_own() -> None:
    passes: list[torch.Size] = []
    hook = MODEL.register_forward_pre_hook(
        lambda _, __, given: passes.append(given["input_ids"].shape), with_kwargs=True
    )
    batch = [wanted(prompt, 3, seed=seed) for seed, prompt in enumerate(["abc", "q", "abc", "abc", "q", "abc"])]
    together = generate(MODEL, frozenset(), batch)
    hook.remove()
    assert passes == [(2, 4), (6, 1), (6, 1)]
    assert [generate(MODEL, frozenset(), [one])[0].tokens for one in batch] == [one.tokens for one in together]
    assert len({tuple(one.tokens) for one in together}) > 1
