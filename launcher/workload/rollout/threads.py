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
            # a future takes no StopIteration, which it would mistake for its own end
            fits = isinstance(error, Exception) and not isinstance(error, StopIteration)
            raised = error if fits else as_exception(error)
            deliver = lambda: result.set_exception(raised)  # noqa: E731
        with suppress(RuntimeError):  # the loop is over
            loop.call_soon_threadsafe(finish, deliver)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, result


def as_exception(error: BaseException) -> Exception:
    """An error that would end more than the function that has raised it, as one that does not."""
    raised = RuntimeError(repr(error))
    raised.__cause__ = error
    return raised
