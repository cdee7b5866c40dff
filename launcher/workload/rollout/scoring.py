"""Rewards for completions. The user's code may be slow, hang or raise: it gets a thread and a time limit."""

import asyncio
import math
import threading
import traceback
from inspect import isawaitable
from typing import Any

from launcher.errors import UserError
from launcher.logger import get_logger
from launcher.workload.rollout.threads import in_thread
from launcher.workload.tasks import Prompt, Task

AT_ONCE = 32  # rewards that are computed at the same time
HOPELESS = 64  # rewards that fail one after the other, without one that does not, from the start on
SHOWN_LINES = 6  # the last ones of a traceback


class Scorer:
    """Asks the task for rewards. One that raises, takes too long or is no finite number counts as 0."""

    def __init__(self, task: Task, timeout: float) -> None:
        self.task, self._timeout = task, timeout
        self._is_quick = bool(getattr(task, "quick", False))
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._late: set[threading.Thread] = set()  # whose reward took too long and may not have returned
        self._has_worked = False
        self._failed = self._counted = 0  # rewards that count as 0, in all and by `count_failed`

    async def score(self, prompt: Prompt, completions: list[str]) -> list[float]:
        """The reward of each completion. Raises UserError when nothing but failures comes."""
        return await asyncio.gather(*(self._reward(prompt, completion) for completion in completions))

    def count_failed(self) -> int:
        """How many rewards have failed since the last call."""
        failed, self._counted = self._failed - self._counted, self._failed
        return failed

    async def _reward(self, prompt: Prompt, completion: str) -> float:
        try:
            reward = float(await self._compute(prompt, completion))
            if not math.isfinite(reward):
                raise ValueError(f"the reward is no finite number: {reward}")  # noqa: TRY301
        except (UserError, asyncio.CancelledError):
            raise
        except Exception as error:
            self._note(error, prompt)
            return 0.0
        self._has_worked = True
        return reward

    async def _compute(self, prompt: Prompt, completion: str) -> Any:
        if self._is_quick:
            return self.task.reward(prompt, completion)
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
            return await asyncio.wait_for(found, self._timeout) if isawaitable(found) else found

    def _note(self, error: Exception, prompt: Prompt) -> None:
        self._failed += 1
        if isinstance(error, TimeoutError) and not str(error):
            what = f"it took longer than {self._timeout:g} s"
        else:
            lines = "".join(traceback.format_exception(error)).strip().splitlines()
            what = "\n".join(lines[-SHOWN_LINES:])
        if not self._has_worked and self._failed >= HOPELESS:
            raise UserError(f"the first {self._failed} rewards have all failed, the last one so: {what}")
        if self._failed == 1:
            get_logger().warning("the reward for the prompt {!r} has failed and counts as 0: {}", prompt, what)
