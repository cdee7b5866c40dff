from typing import Any

import pytest

from launcher.workload.tasks.rewards import contains, exact, load_math, number


@pytest.mark.parametrize(
    ("completion", "answer", "reward"),
    [
        ("so it is 1,200.", "1200", 1),
        ("3 apples and 4 pears make 7", 7, 1),
        ("The answer is $-0.50", "#### -.5", 1),
        ("7 of them, not 8", "7", 0),
        ("1e3", "1000", 1),
        ("none", "7", 0),
        ("", "7", 0),
        ("7", "seven", 0),
    ],
)
def test_the_last_number_counts(completion: str, answer: Any, reward: float) -> None:
    assert number(completion, answer) == reward


def test_exact_ignores_white_space_around_and_contains_all_around() -> None:
    assert (exact(" Paris\n", "Paris"), exact("Paris.", "Paris")) == (1, 0)
    assert (contains("It is Paris.", "Paris"), contains("It is paris.", "Paris")) == (1, 0)


@pytest.mark.parametrize(
    ("completion", "answer", "reward"),
    [
        (r"so $x = \frac{1}{2}$", "0.5", 1),
        (r"\boxed{\frac{2}{4}}", r"\frac12", 1),
        (r"\boxed{(x+1)^2}", "$x^2+2x+1$", 1),
        (r"\boxed{3}", "4", 0),
        ("I do not know", "4", 0),
    ],
)
def test_math_compares_values(completion: str, answer: str, reward: float) -> None:
    pytest.importorskip("math_verify")
    assert load_math()(completion, answer) == reward
