import asyncio
from pathlib import Path
from typing import Any

import pytest

from launcher.config.workload import TaskConfig
from launcher.errors import UserError
from launcher.workload.tasks import Prompt, load_task

CALLED: list[tuple[Prompt, str, Any]] = []


class Mine:
    def __init__(self, length: int) -> None:
        self.length = length


def my_reward(prompt: Prompt, completion: str, answer: Any) -> float:
    CALLED.append((prompt, completion, answer))
    return 0.25


async def my_slow_reward(prompt: Prompt, completion: str, answer: Any) -> float:
    await asyncio.sleep(0)
    return 0.75


def test_tasks_are_loaded_by_name_with_their_arguments() -> None:
    task = load_task(TaskConfig(args={"length": 3}))
    assert len(task.held_out(1)[0]) == 4
    assert "+" in load_task(TaskConfig(name="arithmetic")).held_out(1)[0]


def test_a_users_own_task_is_loaded_with_its_arguments() -> None:
    task = load_task(TaskConfig(name=f"{__name__}:Mine", args={"length": 3}))
    assert type(task).__name__ == "Mine"


@pytest.mark.parametrize("name", ["nowhere:Task", "launcher.workload.tasks:No"])
def test_a_task_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"task.name = '{name}'") as refused:
        load_task(TaskConfig(name=name))
    assert "module:name" in str(refused.value)


@pytest.mark.parametrize("args", [{"size": 3}, {"length": 0}, {"length": "x"}])
def test_arguments_that_a_task_refuses_are_named(args: dict[str, object]) -> None:
    with pytest.raises(UserError, match="does not take"):
        load_task(TaskConfig(args=args))


def test_a_function_of_the_users_is_asked_for_the_reward_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "two.jsonl"
    file.write_text('{"prompt": "a", "answer": {"tests": [1]}}\n{"prompt": "b", "answer": {"tests": [1]}}\n')
    task = load_task(TaskConfig(name=str(file), reward=f"{__name__}:my_reward"))
    (prompt,) = task.prompts(0, 0, 1)
    assert task.reward(prompt, "text") == 0.25
    (called,) = CALLED
    assert called == (prompt, "text", {"tests": [1]})
    waiting: Any = load_task(TaskConfig(name=str(file), reward=f"{__name__}:my_slow_reward")).reward(prompt, "text")
    assert asyncio.run(waiting) == 0.75
