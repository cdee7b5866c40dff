from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from launcher.workload.training.prefixes import Branches, branches_of, longest_row
from launcher.workload.training.rows import micro_batches
from launcher.workload.training.scorer import Scorer, Scoring, Terms
from launcher.workload.training.sequences import Sequences, sequences_of
from tests.workload.training.test_rows import SHAPES

FULL = [name for name, shape in SHAPES.items() if not getattr(shape, "sliding_window", None)]


def groups(prompts: Sequence[int], completions: Sequence[Sequence[int]], seed: int = 0) -> Sequences:
    """Random tokens: for each prompt's length, completions of such lengths behind it, of which all are learned."""
    draw = np.random.default_rng(seed)
    tokens: list[int] = []
    for prompt, lengths in zip(prompts, completions, strict=True):
        shared = draw.integers(3, 50, prompt).tolist()
        for length in lengths:
            tokens += [*shared, *draw.integers(3, 50, length).tolist()]
    pairs = [(prompt, length) for prompt, lengths in zip(prompts, completions, strict=True) for length in lengths]
    weights = np.concatenate([np.arange(prompt + length) >= prompt for prompt, length in pairs])
    whole = np.array([prompt + length for prompt, length in pairs], np.int32)
    return sequences_of(whole, np.array(tokens, np.int32), weights)


@pytest.mark.parametrize("shape", FULL)
def test_a_prefix_that_is_read_once_gives_the_same_terms_and_gradients(shape: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SHAPES[shape]).eval()
    batch = groups([6, 3, 9, 4], [[5, 2, 7, 3], [4, 4], [8], [1, 6, 2]])
    targets = torch.from_numpy(batch.tokens).long()

    def terms(logits: torch.Tensor, at: torch.Tensor) -> Terms:
        return {"loss": torch.nn.functional.cross_entropy(logits, targets[at], reduction="none")}

    found = []
    for longest in (0, 30):
        scorer = Scorer(deepcopy(model))
        (row,) = micro_batches(batch, 0, 1, 1000, longest=longest)
        loss, of_tokens = scorer(row, Scoring(terms, torch.from_numpy(batch.weights)))
        loss.backward()
        found.append((row, of_tokens["loss"], [one.grad for one in scorer.parameters()]))
    (apart, its_terms, its_grads), (shared, terms_too, grads_too) = found
    assert shared.tokens.numel() < apart.tokens.numel()
    torch.testing.assert_close(terms_too, its_terms, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(grads_too, its_grads, atol=1e-5, rtol=1e-4)


def test_samples_of_a_prompt_are_one_row_with_the_prompt_in_front() -> None:
    batch = groups([3], [[2, 3]])
    (row,) = micro_batches(batch, 0, 1, 1000, longest=100)
    assert row.tokens.tolist() == [[*batch.tokens[:4], *batch.tokens[8:10]]]
    assert row.positions is not None and row.positions.tolist() == [[0, 1, 2, 3, 3, 4]]
    assert row.mask is not None and row.mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 1, 0],
        [1, 1, 1, 0, 1, 1],
    ]
    assert row.learned.tolist() == [3, 4, 8, 9, 10] and row.before.tolist() == [2, 3, 2, 4, 5]


def test_a_group_is_read_in_parts_of_like_size_which_are_no_longer_than_a_row_may_be() -> None:
    parts = branches_of(groups([4], [[3] * 8]), longest=4 + 3 * 2)
    assert parts == [
        Branches([0, 3, 6], 4, 10),
        Branches([1, 4, 7], 4, 10),
        Branches([2, 5], 4, 8),
    ]


@pytest.mark.parametrize("longest", [0, 4, 7])
def test_where_a_row_has_no_room_for_a_second_sample_each_is_read_alone(longest: int) -> None:
    assert branches_of(groups([4], [[3, 3]]), longest) == [Branches([0], 0, 6), Branches([1], 0, 6)]


def test_a_sequence_without_a_learned_token_is_not_read() -> None:
    batch = groups([4, 4], [[3, 3], [3]])
    batch.weights[:7] = 0
    assert [part.members for part in branches_of(batch, 0)] == [[1], [2]]


def test_rows_are_as_long_as_the_model_is_wide_but_every_rank_has_some() -> None:
    batch = groups([7] * 32, [[8] * 16] * 32)  # 512 sequences, of which 14 tokens are read
    assert longest_row(128, batch, ranks=1, max_tokens=16384) == 128
    assert longest_row(128, batch, ranks=1, max_tokens=100) == 100
    assert longest_row(128, batch, ranks=64, max_tokens=16384) == 28
    shares = [micro_batches(batch, rank, 64, 16384, longest=28) for rank in range(64)]
    assert all(part.learned.numel() for share in shares for part in share)


def test_padding_of_long_rows_has_positions_that_the_model_knows() -> None:
    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=50, n_embd=32, n_layer=1, n_head=2, n_positions=16))
    (row,) = micro_batches(groups([8, 8], [[7] * 7, [7]]), 0, 1, 1000, context=16, a_pass=10**6, longest=60)
    assert row.tokens.shape == (2, 50) and row.positions is not None
    assert int(row.positions.max()) < 16
    model(input_ids=row.tokens, position_ids=row.positions, attention_mask=row.mask)
