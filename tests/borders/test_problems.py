from pathlib import Path

import pytest

from launcher.borders.problems import Problem, check_problems, read_problems
from launcher.errors import UserError

GOOD = '{"prompt": "2+3=", "answer": 5}\n'


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not an object"),
        ('{"answer": 5}', "has no prompt"),
        ('{"prompt": "", "answer": 5}', "has no prompt"),
        ('{"messages": [], "answer": 5}', "has no prompt"),
        ('{"messages": [{"content": "x"}], "answer": 5}', "has no prompt"),
        ('{"prompt": "2+3="}', "has no answer"),
        ("\udcff", "is not JSON"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, trouble: str) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_bytes((GOOD * 811 + line).encode(errors="surrogateescape"))
    for read in (check_problems, lambda *arguments: list(read_problems(*arguments))):
        with pytest.raises(UserError, match=f"sums.jsonl, line 812 {trouble}"):
            read(file, True)


def test_empty_lines_are_skipped_and_an_answer_need_not_be_there(tmp_path: Path) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_text(f'\n{GOOD}\n{{"prompt": "more"}}\n')
    assert list(read_problems(file, needs_answer=False)) == [Problem("2+3=", 5), Problem("more", None)]


@pytest.mark.parametrize("name", ["no.jsonl", "no.parquet"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=name):
        check_problems(tmp_path / name, True)


def test_only_the_beginning_of_a_large_file_is_looked_at_before_the_start(tmp_path: Path) -> None:
    file = tmp_path / "large.jsonl"
    record = f'{{"prompt": "{"x" * 1_000_000}", "answer": 5}}\n'
    file.write_text(record * 70 + "broken")
    check_problems(file, True)
    with pytest.raises(UserError, match="line 71"):
        list(read_problems(file, True))


def test_chat_messages_need_a_chat_template(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text(GOOD + '{"messages": [{"role": "user", "content": "2+3="}], "answer": 5}\n')
    for may_have in (True, None):
        check_problems(file, True, may_have)
    with pytest.raises(UserError, match=r"chats.jsonl, line 2 has chat messages, but .* no chat template"):
        check_problems(file, True, False)


@pytest.mark.parametrize(
    ("columns", "trouble"),
    [
        ({"question": ["2+3="], "answer": ["5"]}, "row 1 has no prompt"),
        ({"prompt": [2, 3], "answer": ["5", "6"]}, "row 1 has no prompt"),
        ({"prompt": ["2+3="], "answer": [{"tests": "x"}]}, "row 1 has no answer"),
    ],
)
def test_of_parquet_the_first_row_is_looked_at_before_the_start(
    tmp_path: Path, columns: dict[str, list[object]], trouble: str
) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "sums.parquet"
    parquet.write_table(pyarrow.table(columns), file)
    with pytest.raises(UserError, match=f"sums.parquet, {trouble}"):
        check_problems(file, True)


def test_text_in_parquet_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    text = pyarrow.Array.from_buffers(pyarrow.utf8(), 1, pyarrow.array([b"\xff"], pyarrow.binary()).buffers())
    parquet.write_table(pyarrow.table({"prompt": text, "answer": ["5"]}), tmp_path / "sums.parquet")
    with pytest.raises(UserError, match=r"sums.parquet: cannot be read"):
        check_problems(tmp_path / "sums.parquet", True)
