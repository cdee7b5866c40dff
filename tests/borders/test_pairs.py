from pathlib import Path

import pytest

from launcher.borders.pairs import check_pairs
from launcher.errors import UserError

GOOD = '{"prompt": "a>", "completion": "b"}\n'
CHAT = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        ("{", " is not JSON"),
        ("[]", ": not an object"),
        ('{"prompt": "a"}', ": completion is missing"),
        ('{"completion": "a"}', ": prompt is missing"),
        ('{"messages": "a"}', ": messages is not a list"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, trouble: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(GOOD * 811 + line)
    with pytest.raises(UserError, match=f"pairs.jsonl, line 812{trouble}"):
        check_pairs(file, None)


def test_chat_messages_need_a_chat_template_and_text_does_not(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(GOOD * 2)
    check_pairs(file, False)
    file.write_text(GOOD + CHAT)
    for may_have in (True, None):
        check_pairs(file, may_have)
    with pytest.raises(UserError, match=r"pairs.jsonl, line 2 has chat messages, but .* no chat template"):
        check_pairs(file, False)


@pytest.mark.parametrize(("text", "has"), [("", "0 records"), (GOOD + "\n", "1 record")])
def test_a_file_with_nothing_to_hold_out_is_refused_unless_only_its_start_was_read(
    tmp_path: Path, text: str, has: str
) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(text)
    with pytest.raises(UserError, match=f"pairs.jsonl has {has}; at least 2 are needed"):
        check_pairs(file, None)
    file.write_text(GOOD + "{broken" * 99)
    check_pairs(file, None, most=len(GOOD) + 9)


def test_of_parquet_the_columns_are_looked_at(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name, columns in (("good", ("prompt", "completion")), ("bad", ("question", "answer"))):
        parquet.write_table(pyarrow.table({column: ["a"] for column in columns}), tmp_path / f"{name}.parquet")
    check_pairs(tmp_path / "good.parquet", None)
    with pytest.raises(UserError, match=r"bad.parquet, row 1: prompt is missing"):
        check_pairs(tmp_path / "bad.parquet", None)
