"""Blocking functions beside the event loop, in threads that nobody waits for when the process ends."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def in_thread(function: Callable[[], T]) -> tuple[threading.Thread, asyncio.Future[T]]:
    """A thread that runs the function, and what it returns or raises."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def finish(deliver: Callable[[], None]) -> None:
        if not result.done():  # else it was given up
            deliver()

    def work() -> None:
        deliver: Callable[[], None]
        try:
            value = function()
            deliver = lambda: result.set_result(value)  # noqa: E731
        except BaseException as error:
            raised = error if isinstance(error, Exception) else RuntimeError(repr(error))
            deliver = lambda: result.set_exception(raised)  # noqa: E731
        with suppress(RuntimeError):  # the loop is over
            loop.call_soon_threadsafe(finish, deliver)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, result
