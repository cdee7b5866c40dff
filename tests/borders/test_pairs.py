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
    file.write_text(GOOD)
    check_pairs(file, False)
    file.write_text(GOOD + CHAT)
    for may_have in (True, None):
        check_pairs(file, may_have)
    with pytest.raises(UserError, match=r"pairs.jsonl, line 2 has chat messages, but .* no chat template"):
        check_pairs(file, False)


def test_of_parquet_the_columns_are_looked_at(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name, columns in (("good", ("prompt", "completion")), ("bad", ("question", "answer"))):
        parquet.write_table(pyarrow.table({column: ["a"] for column in columns}), tmp_path / f"{name}.parquet")
    check_pairs(tmp_path / "good.parquet", None)
    with pytest.raises(UserError, match=r"bad.parquet, row 1: prompt is missing"):
        check_pairs(tmp_path / "bad.parquet", None)
