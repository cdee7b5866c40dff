import json
from pathlib import Path

import pytest

from launcher.config.training import DataConfig, SFTTrainerConfig
from launcher.config.workload import TinyConfig
from launcher.errors import UserError
from launcher.workload.models.load import Tokenizer, load_tokenizer
from launcher.workload.models.tiny import END_TOKEN, make_tiny
from launcher.workload.training.pairs import collate, example_of, load_examples, read_pairs, rows_of_step, split

GOOD = json.dumps({"prompt": "a>", "completion": "b"})


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    directory = tmp_path_factory.mktemp("tiny") / "model"
    make_tiny(directory, TinyConfig(dim=8), seed=0)
    return load_tokenizer(str(directory))


def test_the_prompt_is_read_and_the_completion_with_its_end_is_learned(tokenizer: Tokenizer) -> None:
    example = example_of(tokenizer, "ab", "c")
    assert example.tokens.tolist() == [END_TOKEN, 97, 98, 99, END_TOKEN]
    assert example.learned.tolist() == [False, False, False, True, True]
    assert example.prompt == [END_TOKEN, 97, 98]


def test_a_batch_weighs_all_learned_tokens_alike(tokenizer: Tokenizer) -> None:
    batch = collate([example_of(tokenizer, "a", "b"), example_of(tokenizer, "", "bcd")])
    assert batch.lengths.tolist() == [4, 5]
    assert batch.weights[batch.weights > 0].tolist() == pytest.approx([1 / 6] * 6)


def test_a_users_file_is_split_into_learned_and_held_out_pairs(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"{n}>", "completion": str(n)}) for n in range(20)) + "\n\n")
    config = SFTTrainerConfig(data=DataConfig(path=path, validation_share=0.2))
    train, held_out = load_examples(config, tokenizer, context=16)
    assert (len(train), len(held_out)) == (16, 4)
    texts = {tokenizer.decode(example.tokens[example.learned][:-1].tolist()) for example in train + held_out}
    assert texts == {str(n) for n in range(20)}


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_both_parts_of_a_split_have_something(tokenizer: Tokenizer, share: float) -> None:
    train, held_out = split([example_of(tokenizer, "a", "b")] * 3, DataConfig(validation_share=share), seed=0)
    assert train and held_out


TOO_LONG = json.dumps({"prompt": "x" * 99, "completion": "y"})


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"prompt": "x"}', '{"prompt": "x", "completion": 3}', TOO_LONG])
def test_a_bad_line_is_named_with_file_and_number(tmp_path: Path, tokenizer: Tokenizer, line: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n{GOOD}\n")
    with pytest.raises(UserError, match=r"pairs\.jsonl:3: "):
        read_pairs(path, tokenizer, context=64)


def test_a_file_that_is_not_there_is_named(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"cannot read .*none\.jsonl"):
        read_pairs(tmp_path / "none.jsonl", tokenizer, context=64)


def test_a_file_of_one_pair_has_nothing_to_hold_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(GOOD)
    with pytest.raises(UserError, match="at least 2"):
        read_pairs(path, tokenizer, context=64)


def test_every_pair_comes_once_in_each_pass() -> None:
    rows = [row for step in range(1, 6) for row in rows_of_step(0, step, count=4, total=10)]
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert rows[:10] != rows[10:]


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert sorted(rows_of_step(0, 1, count=5, total=2)) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])
