import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, CohereConfig, Lfm2Config, PreTrainedModel

from launcher.errors import UserError
from launcher.workload.training import scorer as scorers
from launcher.workload.training.rows import Sharing, micro_batches
from launcher.workload.training.scorer import Scorer, Scoring, Terms
from tests.workload.training.test_rows import SHAPES, SMALL, some

BATCH = some([13, 7, 5, 8])
TARGETS = torch.from_numpy(BATCH.tokens).long()
WEIGHTS = torch.from_numpy(BATCH.weights) * torch.from_numpy(np.random.default_rng(0).random(33, np.float32))


def terms(logits: torch.Tensor, at: torch.Tensor) -> Terms:
    logprobs = logits.log_softmax(-1)
    chosen = logprobs.gather(1, TARGETS[at][:, None])[:, 0]
    return {"loss": -chosen - 0.1 * logprobs.mean(-1), "entropy": -(logprobs.exp() * logprobs).sum(-1)}


def made(shape: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(shape).eval()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("at_once", [1, 3, 10**9])
def test_gradients_of_parts_are_those_of_all_logits_together(
    shape: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorers, "tokens_at_once", lambda vocabulary: at_once)
    (row,) = micro_batches(BATCH, 0, 1, 1000)
    ours, theirs = made(SHAPES[shape]), made(SHAPES[shape])
    loss, found = Scorer(ours)(row, Scoring(terms, WEIGHTS, temperature=0.7))
    (2 * loss).backward()
    output = theirs(input_ids=row.tokens, position_ids=row.positions, use_cache=False)
    expected = terms(output.logits.flatten(0, 1)[row.before] / 0.7, row.learned)
    (2 * (expected["loss"] * WEIGHTS[row.learned]).sum()).backward()
    torch.testing.assert_close(found["entropy"], expected["entropy"].detach())
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4, msg=name)


def test_a_look_without_gradients_computes_none() -> None:
    wanted = []

    def looked_at(logits: torch.Tensor, at: torch.Tensor) -> Terms:
        wanted.append(logits.requires_grad)
        return terms(logits, at)

    (row,) = micro_batches(BATCH, 0, 1, 1000)
    scorer = Scorer(made(SHAPES["gpt2"]))
    with torch.no_grad():
        loss, _ = scorer(row, Scoring(looked_at, WEIGHTS))
    learned, _ = scorer(row, Scoring(looked_at, WEIGHTS))
    assert wanted == [False, True]
    torch.testing.assert_close(loss, learned.detach())


def test_frozen_weights_get_no_gradient() -> None:
    model = made(SHAPES["llama"])
    model.get_output_embeddings().weight.requires_grad_(False)
    (row,) = micro_batches(BATCH, 0, 1, 1000)
    loss, _ = Scorer(model)(row, Scoring(terms, WEIGHTS))
    loss.backward()
    assert model.get_output_embeddings().weight.grad is None
    assert model.base_model.layers[0].mlp.up_proj.weight.grad is not None


@pytest.mark.parametrize("shape", SHAPES)
def test_a_head_that_is_a_linear_layer_is_accepted(shape: str) -> None:
    Scorer(made(SHAPES[shape])).check()


@pytest.mark.parametrize(
    ("shape", "sharing"),
    [
        ("gpt2", Sharing.PREFIXES),
        ("qwen3", Sharing.PREFIXES),
        ("llama", Sharing.PREFIXES),
        ("gemma2", Sharing.ROWS),  # sliding windows
        ("gemma3", Sharing.ROWS),
    ],
)
def test_sequences_share_prefixes_in_models_of_full_attention(shape: str, sharing: Sharing) -> None:
    assert Scorer(made(SHAPES[shape])).sharing() == sharing


def test_sequences_share_nothing_in_a_model_with_layers_that_see_no_borders() -> None:
    config = Lfm2Config(**SMALL, layer_types=["conv", "full_attention", "conv"], initializer_range=0.2)
    assert Scorer(made(config)).sharing() == Sharing.NOTHING


def test_sequences_that_share_nothing_are_rows_of_their_own() -> None:
    (rows,) = micro_batches(BATCH, 0, 1, 1000, packs=False)
    assert rows.tokens.shape[0] == len(BATCH.lengths) and rows.positions is None


def test_the_head_is_seen_before_the_model_is_where_flash_attention_works() -> None:
    model = made(deepcopy(SHAPES["llama"]))
    model.config._attn_implementation = "flash_attention_2"  # which can neither be computed on a CPU nor in float32
    Scorer(model).check()
    assert model.config._attn_implementation == "flash_attention_2"


def test_a_head_that_does_more_is_refused() -> None:
    small = SMALL | {"num_hidden_layers": 1}
    small.pop("head_dim")
    with pytest.raises(UserError, match="CohereForCausalLM cannot be trained here"):
        Scorer(made(CohereConfig(**small, logit_scale=0.1))).check()


def test_weights_that_are_not_finite_are_called_that() -> None:
    model = made(SHAPES["llama"])
    model.base_model.layers[0].mlp.up_proj.weight.data.fill_(math.nan)
    with pytest.raises(UserError, match="logits are not finite"):
        Scorer(model).check()
