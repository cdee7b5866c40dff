import json
from pathlib import Path
from typing import Any

import pytest

from launcher.config.workload import TaskConfig
from launcher.errors import UserError
from launcher.workload.tasks import Task, load_task


def written(path: Path, records: list[dict[str, Any]]) -> Task:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return load_task(TaskConfig(name=str(path)))


def sums(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"{number}+1=", "answer": number + 1} for number in range(count)]


def test_each_epoch_has_every_prompt_that_is_not_held_out_once(tmp_path: Path) -> None:
    task = written(tmp_path / "sums.jsonl", sums(80))
    held_out = task.held_out(1000)
    epochs = [task.prompts(0, start, 70) for start in (0, 70)]
    assert len(held_out) == 10
    assert sorted(map(str, epochs[0])) == sorted(map(str, epochs[1]))
    assert epochs[0] != epochs[1]
    assert not set(map(str, held_out)) & set(map(str, epochs[0]))
    assert task.prompts(0, 3, 5) == epochs[0][3:8]
    assert task.prompts(1, 3, 5) != epochs[0][3:8]


def test_what_is_held_out_changes_little_when_the_file_grows(tmp_path: Path) -> None:
    small = set(map(str, written(tmp_path / "a.jsonl", sums(80)).held_out(1000)))
    large = set(map(str, written(tmp_path / "b.jsonl", sums(88)).held_out(1000)))
    assert len(small & large) >= 8


def test_the_answer_belongs_to_its_prompt_and_earns_the_reward(tmp_path: Path) -> None:
    task = written(tmp_path / "sums.jsonl", sums(20))
    assert [task.answer(prompt) for prompt in ("3+1=", "7+1=")] == ["4", "8"]
    assert (task.reward("3+1=", " 4\n"), task.reward("3+1=", "5")) == (1.0, 0.0)


def test_prompts_may_be_chat_messages(tmp_path: Path) -> None:
    chats = [[{"role": "user", "content": f"say {letter}"}] for letter in "ab"]
    task = written(tmp_path / "chats.jsonl", [{"messages": chat, "answer": chat[0]["content"][-1]} for chat in chats])
    (trained,), (held_out,) = task.prompts(0, 5, 1), task.held_out(8)
    assert [trained, held_out] in (chats, chats[::-1])
    assert task.answer(trained) == trained[0]["content"][-1]  # type: ignore[index]


def test_parquet_is_read_as_well(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    chats = [[{"role": "user", "content": f"say {letter}"}] for letter in "ab"]
    parquet.write_table(arrow.table({"messages": chats, "answer": ["a", "b"], "other": [1, 2]}), tmp_path / "x.parquet")
    task = load_task(TaskConfig(name=str(tmp_path / "x.parquet")))
    assert [*task.prompts(0, 0, 1), *task.held_out(8)] in (chats, chats[::-1])


def test_a_file_with_one_prompt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 different prompts are too few"):
        written(tmp_path / "one.jsonl", sums(1) * 5)
