"""Rewards for completions. The user's code may be slow, hang or raise: it gets a thread and a time limit."""

import asyncio
import math
import threading
import traceback
from collections.abc import Awaitable
from inspect import isawaitable
from typing import Any

from launcher.errors import UserError
from launcher.logger import get_logger
from launcher.workload.rollout.threads import as_exception, in_thread
from launcher.workload.tasks import Prompt, Task

AT_ONCE = 32  # rewards that are computed at the same time
HOPELESS = 64  # rewards that fail one after the other, without one that does not, from the start on
SHOWN_LINES = 6  # the last ones of a traceback


class Failures:
    """Counts failures, shows the first, and gives up when nothing else comes."""

    def __init__(self, consequence: str) -> None:
        """`consequence` says in the warning what becomes of one: it "counts as 0"."""
        self._consequence = consequence
        self._has_worked = False
        self._failed = self._counted = 0  # in all, and by `count`

    def note_success(self) -> None:
        self._has_worked = True

    def note(self, subject: str, what: str) -> None:
        """Raises UserError when the first ones have all failed."""
        self._failed += 1
        if not self._has_worked and self._failed >= HOPELESS:
            raise UserError(f"the first {self._failed} rewards all failed; the last one: {what}")
        if self._failed == 1:
            get_logger().warning("{} has failed and {}: {}", subject, self._consequence, what)

    def count(self) -> int:
        """How many have failed since the last call."""
        failed, self._counted = self._failed - self._counted, self._failed
        return failed


class Scorer:
    """Asks the task for rewards. One that raises, takes too long or is not a finite number counts as 0."""

    def __init__(self, task: Task, timeout: float) -> None:
        self.task, self._timeout = task, timeout
        self._is_quick = bool(getattr(task, "quick", False))
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._late: set[threading.Thread] = set()  # whose reward took too long and may not have returned
        self._failures = Failures("counts as 0")
        self.count_failed = self._failures.count

    async def score(self, prompt: Prompt, completions: list[str]) -> list[float]:
        """The reward of each completion. Raises UserError when nothing but failures comes."""
        return await asyncio.gather(*(self._reward(prompt, completion) for completion in completions))

    async def _reward(self, prompt: Prompt, completion: str) -> float:
        try:
            reward = _number(await self._compute(prompt, completion))
        except (UserError, asyncio.CancelledError):
            raise
        except (Exception, SystemExit) as error:
            self._failures.note(f"the reward for the prompt {prompt!r}", self._describe(error))
            return 0.0
        self._failures.note_success()
        return reward

    async def _compute(self, prompt: Prompt, completion: str) -> Any:
        if self._is_quick:
            return await self._awaited(self.task.reward(prompt, completion))
        async with self._slots:
            self._late = {thread for thread in self._late if thread.is_alive()}
            if len(self._late) >= AT_ONCE:
                raise UserError(f"{AT_ONCE} rewards have not returned; each may take {self._timeout:g} s")
            thread, result = in_thread(lambda: self.task.reward(prompt, completion))
            try:
                found = await asyncio.wait_for(result, self._timeout)
            finally:
                if thread.is_alive():  # it cannot be ended
                    self._late.add(thread)
            return await self._awaited(found)

    async def _awaited(self, found: Any) -> Any:
        return await asyncio.wait_for(_contained(found), self._timeout) if isawaitable(found) else found

    def _describe(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError) and not str(error):
            return f"it took longer than {self._timeout:g} s"
        lines = "".join(traceback.format_exception(error)).strip().splitlines()
        return "\n".join(lines[-SHOWN_LINES:])


def _number(found: Any) -> float:
    """Raises TypeError or ValueError for what is no finite number; a text that looks like one is a mistake."""
    if isinstance(found, str | bytes):
        raise TypeError(f"the reward is text, not a number: {found!r}")
    reward = float(found)
    if not math.isfinite(reward):
        raise ValueError(f"the reward is not a finite number: {reward}")
    return reward


async def _contained(reward: Awaitable[Any]) -> Any:
    """What a coroutine of the user's gives. sys.exit() in it, or a task that it has cancelled, ends it alone."""
    try:
        return await reward
    except SystemExit as error:
        raise as_exception(error) from error
    except asyncio.CancelledError as error:
        this = asyncio.current_task()
        if this is None or this.cancelling():  # it was given up: too late, or the run ends
            raise
        raise as_exception(error) from error
