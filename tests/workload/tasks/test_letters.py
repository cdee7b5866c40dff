import pytest

from launcher.workload.tasks.letters import Arithmetic, OneAnswer, ReverseText

TASKS = [ReverseText(1), ReverseText(2), ReverseText(), Arithmetic()]


def test_the_stream_of_prompts_depends_on_seed_and_place_alone() -> None:
    task = ReverseText()
    assert task.prompts(3, 0, 10)[4:] == ReverseText().prompts(3, 4, 6)
    assert task.prompts(3, 0, 10) != task.prompts(4, 0, 10)


@pytest.mark.parametrize("task", TASKS)
def test_held_out_prompts_never_occur_in_training(task: OneAnswer) -> None:
    assert not set(task.held_out(200)) & set(task.prompts(0, 0, 2000))


@pytest.mark.parametrize("task", TASKS)
def test_the_answer_earns_the_whole_reward(task: OneAnswer) -> None:
    assert all(task.reward(prompt, task.answer(prompt)) == 1.0 for prompt in task.held_out(20))


@pytest.mark.parametrize(
    ("completion", "reward"),
    [("", 0.0), ("o", 0.2), ("olle", 0.8), ("ollxx", 0.6), ("hello", 0.2), ("olleh!", 5 / 6), ("olleholleh", 0.5)],
)
def test_the_reward_is_the_share_of_letters_at_their_place(completion: str, reward: float) -> None:
    assert ReverseText().reward("hello>", completion) == pytest.approx(reward)


def test_one_character_of_three_bytes_is_no_cheap_ending() -> None:
    assert ReverseText().reward("hello>", "olleh日") == 5 / 8


def test_sums_are_added() -> None:
    assert Arithmetic().answer("7+35=") == "42"
    assert all(len(prompt) <= 6 for prompt in Arithmetic().prompts(0, 0, 100))
