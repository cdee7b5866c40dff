import pytest

from launcher.config.workload import TaskConfig
from launcher.errors import UserError
from launcher.workload.task import ReverseText, load_task


def test_the_stream_of_prompts_depends_on_seed_and_place_alone() -> None:
    task = ReverseText()
    assert task.prompts(3, 0, 10)[4:] == ReverseText().prompts(3, 4, 6)
    assert task.prompts(3, 0, 10) != task.prompts(4, 0, 10)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_held_out_prompts_never_occur_in_training(length: int) -> None:
    task = ReverseText(length)
    assert not set(task.held_out(200)) & set(task.prompts(0, 0, 2000))


def test_the_answer_earns_the_whole_reward() -> None:
    task = ReverseText()
    assert all(task.reward(prompt, task.answer(prompt)) == 1.0 for prompt in task.held_out(20))


@pytest.mark.parametrize(
    ("completion", "reward"),
    [("", 0.0), ("o", 0.2), ("olle", 0.8), ("ollxx", 0.6), ("hello", 0.2), ("olleh!", 5 / 6), ("olleholleh", 0.5)],
)
def test_the_reward_is_the_share_of_letters_at_their_place(completion: str, reward: float) -> None:
    assert ReverseText().reward("hello>", completion) == pytest.approx(reward)


def test_one_character_of_three_bytes_is_no_cheap_ending() -> None:
    assert ReverseText().reward("hello>", "olleh日") == 5 / 8


def test_a_users_own_task_is_loaded_with_its_arguments() -> None:
    task = load_task(TaskConfig(target="launcher.workload.task:ReverseText", args={"length": 3}))
    assert len(task.held_out(1)[0]) == 4


@pytest.mark.parametrize("target", ["nowhere:Task", "launcher.workload.task:No", "launcher.workload.task", ":", ""])
def test_a_task_that_is_not_there_is_named(target: str) -> None:
    with pytest.raises(UserError, match="there is no task") as refused:
        load_task(TaskConfig(target=target))
    assert "module:Class" in str(refused.value)


@pytest.mark.parametrize("args", [{"size": 3}, {"length": 0}, {"length": "x"}])
def test_arguments_that_a_task_refuses_are_named(args: dict[str, object]) -> None:
    with pytest.raises(UserError, match="does not take"):
        load_task(TaskConfig(args=args))
