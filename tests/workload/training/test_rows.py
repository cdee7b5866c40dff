import random

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    Qwen3Config,
)

from launcher.workload.training.rows import (
    MicroBatch,
    alike,
    micro_batches,
    pack,
    row_length,
)
from launcher.workload.training.sequences import Sequences, sequences_of

SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
SHAPES = {
    "gpt2": GPT2Config(vocab_size=50, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=1),
    "qwen3": Qwen3Config(**SMALL),
    "llama": LlamaConfig(**SMALL),
    "gemma2": Gemma2Config(**SMALL, sliding_window=4),
    "gemma3": Gemma3TextConfig(**SMALL, sliding_window=4),
}


def some(lengths: list[int], seed: int = 0) -> Sequences:
    """Sequences of random tokens; the latter half of each is learned."""
    draw = np.random.default_rng(seed)
    tokens = draw.integers(0, 50, sum(lengths)).astype(np.int32)
    weights = np.concatenate([np.arange(length) >= length // 2 for length in lengths]).astype(np.float32)
    return sequences_of(np.array(lengths, np.int32), tokens, weights)


@pytest.mark.parametrize("shape", SHAPES)
def test_sequences_that_share_a_row_know_nothing_of_each_other(shape: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SHAPES[shape]).eval()
    batch = some([13, 7, 5, 8])
    (row,) = micro_batches(batch, rank=0, ranks=1, max_tokens=1000)
    assert row.tokens.shape[0] < 4 and row.positions is not None
    with torch.no_grad():
        together = model(input_ids=row.tokens, position_ids=row.positions, use_cache=False).logits.flatten(0, 1)
        for start, length in zip(batch.starts, batch.lengths, strict=True):
            alone = model(input_ids=torch.from_numpy(batch.tokens[None, start : start + length]).long()).logits[0]
            mine = (row.learned >= start) & (row.learned < start + length)
            before = row.learned[mine] - 1 - start
            torch.testing.assert_close(together[row.before[mine]], alone[before], atol=2e-6, rtol=1e-4)


def test_every_learned_token_comes_once_over_all_ranks_and_micro_batches() -> None:
    luck = random.Random(0)
    for _ in range(50):
        longest = luck.choice([30, 300])
        batch = some([luck.randint(1, longest) for _ in range(luck.randint(1, 40))])
        ranks, budget = luck.randint(1, 5), luck.randint(1, 100)
        shares = [micro_batches(batch, rank, ranks, budget) for rank in range(ranks)]
        assert len({len(share) for share in shares}) == 1
        learned = torch.cat([part.learned for share in shares for part in share])
        assert sorted(learned.tolist()) == batch.weights.nonzero()[0].tolist()
        for part in (part for share in shares for part in share):
            assert part.tokens.numel() <= max(budget, row_length(int(batch.lengths.max())))
            assert (part.tokens.flatten()[part.before] == torch.from_numpy(batch.tokens)[part.learned - 1]).all()


def test_a_sequence_is_read_up_to_its_last_learned_token() -> None:
    tokens, weights = np.arange(10, dtype=np.int32), np.array([0, 0, 0, 1, 0, 0, 0, 1, 1, 0], np.float32)
    (row,) = micro_batches(sequences_of(np.array([5, 5], np.int32), tokens, weights), 0, 1, 1000)
    assert row.tokens.tolist() == [[0, 1, 2], [5, 6, 7]]
    assert row.learned.tolist() == [3, 7, 8] and row.tokens.flatten()[row.before].tolist() == [2, 6, 7]


def test_positions_start_again_at_each_sequence_and_padding_is_one_of_its_own() -> None:
    (row,) = micro_batches(some([10, 5, 4]), 0, 1, 1000)
    assert row.positions is not None
    assert row.positions.tolist() == [[*range(9)], [0, 1, 2, 3, 0, 1, 2, 0, 1]]


def test_sequences_that_need_a_row_each_are_a_plain_batch() -> None:
    (rows,) = micro_batches(some([9, 9, 8]), 0, 1, 1000)
    assert rows.positions is None and rows.tokens.shape == (3, 8)


def test_rows_that_are_much_shorter_than_others_are_not_padded_to_their_length() -> None:
    batch = some([17] * 100 + [10] * 300)
    shares = [micro_batches(batch, rank, 2, 10_000) for rank in range(2)]
    assert [[tuple(part.tokens.shape) for part in share] for share in shares] == [[(50, 16), (150, 9)]] * 2
    learned = torch.cat([part.learned for share in shares for part in share])
    assert sorted(learned.tolist()) == batch.weights.nonzero()[0].tolist()


def test_a_pass_more_is_only_made_where_it_saves_more_than_it_costs() -> None:
    halves = np.array([1024] * 8 + [512] * 7 + [128])
    assert alike(halves, 1, 1024) == [slice(0, 8), slice(8, 16)]
    assert alike(halves, 1, 100) == [slice(0, 8), slice(8, 15), slice(15, 16)]
    assert alike(halves, 1, 5000) == [slice(0, 16)]
    assert alike(halves, 3, 1024) == [slice(0, 9), slice(9, 16)]  # each rank has as many rows
    assert alike(halves, 16, 1024) == [slice(0, 16)]


def test_a_rank_without_a_sequence_learns_nothing_but_takes_part() -> None:
    (idle,) = micro_batches(some([5]), rank=1, ranks=2, max_tokens=10)
    assert isinstance(idle, MicroBatch) and idle.learned.numel() == 0 and idle.tokens.numel() == 1


def test_packing_wastes_little_room_on_texts_of_mixed_length() -> None:
    luck = random.Random(0)
    lengths = [min(512, int(luck.lognormvariate(4.5, 0.8)) + 1) for _ in range(500)]
    rows = pack(lengths, 512)
    assert sorted(index for row in rows for index in row) == list(range(500))
    assert max(sum(lengths[index] for index in row) for row in rows) <= 512
    assert sum(lengths) / (512 * len(rows)) > 0.97


def test_a_row_is_never_longer_than_what_the_model_takes() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=2, n_positions=65))
    (row,) = micro_batches(some([66]), 0, 1, 1000, context=65)
    assert model(input_ids=row.tokens, position_ids=row.positions).logits.shape[1] == 65
    assert row_length(65) > 65 and row_length(33, 65) == row_length(33)
    (longer,) = micro_batches(some([71]), 0, 1, 1000, context=65)
    assert longer.tokens.shape == (1, 70)


@pytest.mark.parametrize(("longest", "length"), [(1, 1), (15, 15), (16, 16), (33, 34), (1000, 1024), (1025, 1088)])
def test_a_row_is_a_little_longer_than_its_longest_sequence(longest: int, length: int) -> None:
    assert row_length(longest) == length
