import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from launcher.config.training import DataConfig, SFTTrainerConfig
from launcher.errors import UserError
from launcher.workload.models.tokenizer import Tokenizer
from launcher.workload.training import data
from launcher.workload.training.data import check_vocabulary, load_examples
from launcher.workload.training.examples import Example
from tests.workload.training.templates import LLAMA, tokenizer_with

CHAT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
GOOD: dict[str, Any] = {"prompt": "a>", "completion": "b"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer_with(tmp_path_factory.mktemp("tiny") / "model", LLAMA)


def loaded(tokenizer: Tokenizer, path: Path, context: int = 64, **settings: Any) -> tuple[list[Example], list[Example]]:
    config = SFTTrainerConfig(data=DataConfig(path=path, **settings))
    return load_examples(config, tokenizer, context)


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in records) + "\n\n")
    return path


def test_a_users_file_is_split_into_learned_and_held_out_records(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write(tmp_path / "data.jsonl", [{"prompt": f"{n}>", "completion": str(n)} for n in range(20)])
    train, held_out = loaded(tokenizer, path, validation_share=0.2)
    assert (len(train), len(held_out)) == (16, 4)
    texts = {tokenizer.decode(example.tokens[example.learned][:-1].tolist()) for example in train + held_out}
    assert texts == {str(n) for n in range(20)}


def test_parquet_is_read_as_json_lines_are(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    records = [{"messages": CHAT}, {"messages": [*CHAT, *CHAT]}]
    parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "data.parquet")
    of_parquet = loaded(tokenizer, tmp_path / "data.parquet", 200)
    of_lines = loaded(tokenizer, write(tmp_path / "data.jsonl", records), 200)
    for one, other in zip([*of_parquet[0], *of_parquet[1]], [*of_lines[0], *of_lines[1]], strict=True):
        assert one.tokens.tolist() == other.tokens.tolist() and one.learned.tolist() == other.learned.tolist()


@pytest.mark.parametrize(
    "record",
    [
        "{",
        [],
        3,
        {"prompt": "x"},
        {"prompt": "x", "completion": 3},
        {"messages": "x"},
        {"messages": [{"role": "user"}]},
        {"messages": CHAT[:1]},
        {"prompt": "x" * 99, "completion": "y"},
    ],
)
def test_a_broken_record_is_named_with_file_and_line(tmp_path: Path, tokenizer: Tokenizer, record: Any) -> None:
    path = write(tmp_path / "data.jsonl", [*[GOOD] * 811, record, GOOD])
    with pytest.raises(UserError, match=r"data\.jsonl, line 812"):
        loaded(tokenizer, path)


def test_a_broken_line_far_into_a_file_is_told_before_anything_becomes_tokens(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "data.jsonl", [*[GOOD] * 811, {"prompt": "x"}, GOOD])
    made: list[str] = []
    monkeypatch.setattr(data, "example_of", lambda *_: made.append("an example"))
    with pytest.raises(UserError, match=r"data\.jsonl, line 812: completion is missing"):
        loaded(tokenizer, path)
    assert made == []


def test_records_that_are_too_long_are_dropped_on_request(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write(tmp_path / "data.jsonl", [GOOD, {"prompt": "x" * 99, "completion": "y"}, GOOD])
    train, held_out = loaded(tokenizer, path, too_long="drop")
    assert len(train) + len(held_out) == 2
    with pytest.raises(UserError, match="has 0 records of at most 2 tokens, the model's context; at least 2"):
        loaded(tokenizer, path, context=2, too_long="drop")


def test_a_token_that_the_model_does_not_have_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    train, held_out = loaded(tokenizer, write(tmp_path / "data.jsonl", [GOOD, GOOD]))
    highest = int(max(train[0].tokens))
    check_vocabulary(train + held_out, highest + 1)
    with pytest.raises(UserError, match=f"makes token {highest}, but the model's vocabulary has {highest}"):
        check_vocabulary(train + held_out, highest)


def test_a_file_that_is_not_there_is_named(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read"):
        loaded(tokenizer, tmp_path / "none.jsonl")


def test_a_file_of_one_record_has_nothing_to_hold_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="at least 2"):
        loaded(tokenizer, write(tmp_path / "data.jsonl", [GOOD]))


def test_a_data_set_of_the_hub_without_its_package_says_what_to_install(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="needs the package datasets"):
        load_examples(SFTTrainerConfig(data=DataConfig(dataset="org/name")), tokenizer, 64)
