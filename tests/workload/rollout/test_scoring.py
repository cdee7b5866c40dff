import asyncio
import math
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from launcher.errors import UserError
from launcher.workload.rollout import scoring
from launcher.workload.rollout.scoring import AT_ONCE, HOPELESS, Scorer
from launcher.workload.tasks import Prompt
from launcher.workload.tasks.letters import ReverseText


class Mine(ReverseText):
    """The reward is whatever the function gives for a completion."""

    quick = False

    def __init__(self, function: Callable[[str], float | Awaitable[float]]) -> None:
        super().__init__()
        self.function = function

    def reward(self, prompt: Prompt, completion: str) -> Any:
        return self.function(completion)


def scores(task: ReverseText, *completions: str, timeout: float = 5.0) -> tuple[list[float], int]:
    async def score() -> tuple[list[float], int]:
        scorer = Scorer(task, timeout)
        return await scorer.score("abcde>", list(completions)), scorer.count_failed()

    return asyncio.run(score())


def test_every_completion_gets_its_reward() -> None:
    assert scores(ReverseText(), "edcba", "edxxx") == ([1.0, 0.4], 0)
    assert scores(Mine(len), "", "xx") == ([0.0, 2.0], 0)


def test_a_reward_may_be_a_coroutine() -> None:
    async def slowly(completion: str) -> float:
        await asyncio.sleep(0.01)
        return 0.5

    assert scores(Mine(slowly), "a", "b") == ([0.5, 0.5], 0)


def test_one_that_raises_or_is_no_number_counts_as_0_and_the_first_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Log:
        def warning(self, message: str, *values: object) -> None:
            shown.append(message.format(*values))

    def broken(completion: str) -> float:
        return {"nan": math.nan, "good": 1.0}[completion]

    monkeypatch.setattr(scoring, "get_logger", Log)
    assert scores(Mine(broken), "good", "bad", "nan", "worse") == ([1.0, 0.0, 0.0, 0.0], 3)
    assert len(shown) == 1
    assert "abcde>" in shown[0] and "KeyError" in shown[0] and "in broken" in shown[0]


def test_a_text_that_looks_like_a_number_is_none() -> None:
    assert scores(Mine(lambda completion: completion), "1.0", "0") == ([0.0, 0.0], 2)  # type: ignore[arg-type,return-value]


def test_what_would_end_more_than_the_reward_ends_the_reward_alone() -> None:
    def stops(completion: str) -> float:
        return next(float(letter) for letter in completion if letter.isdigit())

    async def exits(completion: str) -> float:
        return float(completion) if completion.isdigit() else sys.exit(0)

    async def cancels(completion: str) -> float:
        if completion.isdigit():
            return float(completion)
        own = asyncio.ensure_future(asyncio.sleep(60))
        own.cancel()
        return await own or 0.0

    started = time.monotonic()
    for function in (stops, exits, cancels):
        assert scores(Mine(function), "1", "no digit", "2", timeout=60.0) == ([1.0, 0.0, 2.0], 1)
    assert time.monotonic() - started < 30  # and at once


def test_a_quick_reward_may_be_a_coroutine_as_well() -> None:
    async def gives(completion: str) -> float:
        return 0.5

    task = Mine(gives)
    task.quick = True
    assert scores(task, "a") == ([0.5], 0)


def test_one_that_takes_too_long_counts_as_0_and_holds_nobody_up() -> None:
    release = threading.Event()

    def hangs(completion: str) -> float:
        if completion == "hang":
            release.wait(30)
        return 1.0

    async def sleeps(completion: str) -> float:
        await asyncio.sleep(30 if completion == "hang" else 0)
        return 1.0

    started = time.monotonic()
    for function in (hangs, sleeps):
        assert scores(Mine(function), "a", "hang", "b", timeout=3.0) == ([1.0, 0.0, 1.0], 1)
    release.set()
    assert time.monotonic() - started < 25


def test_when_nothing_but_failures_comes_the_run_ends_with_the_reason() -> None:
    def broken(completion: str) -> float:
        raise TypeError("my_reward() takes 2 arguments")

    with pytest.raises(UserError, match=r"my_reward\(\) takes 2 arguments"):
        scores(Mine(broken), *["x"] * HOPELESS)


def test_threads_that_never_return_are_bounded() -> None:
    release = threading.Event()

    def hangs(completion: str) -> float:
        if completion == "hang":
            release.wait(60)
        return 1.0

    async def history() -> None:
        scorer = Scorer(Mine(hangs), timeout=1.0)
        await scorer.score("abcde>", ["fine", *["hang"] * AT_ONCE])
        with pytest.raises(UserError, match=f"{AT_ONCE} rewards have not returned"):
            await scorer.score("abcde>", ["fine"])

    try:
        asyncio.run(history())
    finally:
        release.set()
