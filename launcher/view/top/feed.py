"""Reads what a screen shows, in a thread of its own: a slow file system delays neither keys nor the way out."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

from launcher.borders.screen import printable

EVERY = 2.0  # seconds between two reads,
LOOK_EVERY = 0.15  # unless a file has changed that tells of an event
COST = 100  # reading may take this part of the time,
LONGEST = 10.0  # but is not put off longer


class Arrived(Message, bubble=False):
    """Something was read."""

    def __init__(self, content: Any) -> None:
        super().__init__()
        self.content = content


class Failed(Message, bubble=False):
    """Something could not be read."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class Feed:
    """Calls `read` again and again, and posts to the widget what it returns or why it failed."""

    def __init__(
        self,
        widget: Widget,
        read: Callable[[], Any],
        told_by: Callable[[Any], Iterable[Path]] = lambda _: (),
        rest: Callable[[Any], float] = lambda _: EVERY,
    ) -> None:
        """`told_by`: files that change with every event of what was read, such as run.json.

        `rest` says how many seconds pass after something was read (None: it could not be).
        """
        self._told_by = told_by
        self._widget, self._read, self._rest = widget, read, rest
        self._is_closed = False
        self._is_wanted, self._is_asked = threading.Event(), threading.Event()
        self._is_wanted.set()
        thread = threading.Thread(target=copy_context().run, args=(self._run,), name="feed", daemon=True)
        thread.start()

    def read_now(self) -> None:
        self._is_asked.set()

    def pause(self) -> None:
        """While the screen is covered, nothing is read."""
        self._is_wanted.clear()

    def resume(self) -> None:
        self._is_wanted.set()
        self._is_asked.set()

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def close(self) -> None:
        self._is_closed = True
        self.resume()

    def _run(self) -> None:
        files: list[Path] = []
        while not self._is_closed:
            self._is_asked.clear()
            before = {file: _changed(file) for file in files}  # what changes during the read may not be in it
            began, content = time.thread_time(), None
            try:
                content = self._read()
                message: Message = Arrived(content)
            except Exception as error:  # whatever stands in a run's directory, it does not end the view
                message = Failed(printable(str(error)) or type(error).__name__)
            if self._is_closed or not self._posted(message):
                return
            rest = min(LONGEST, COST * (time.thread_time() - began))
            files = files if content is None else list(self._told_by(content))
            self._wait(max(self._rest(content), rest), {file: before.get(file, _changed(file)) for file in files})
            self._is_wanted.wait()

    def _wait(self, seconds: float, before: dict[Path, int]) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._is_asked.wait(min(left, LOOK_EVERY) if before else left):
                return
            if any(_changed(file) != when for file, when in before.items()):
                return

    def _posted(self, message: Message) -> bool:
        try:
            return self._widget.post_message(message)
        except RuntimeError:  # the application has ended
            return False


class FedScreen(Screen[None]):
    """A screen whose feed rests while the screen is covered."""

    feed: Feed

    def on_screen_suspend(self) -> None:
        self.feed.pause()

    def on_screen_resume(self) -> None:
        self.feed.resume()

    def on_unmount(self) -> None:
        self.feed.close()


def _changed(file: Path) -> int:
    """When it was; -1 if it is not there."""
    try:
        return os.stat(file).st_mtime_ns  # noqa: PTH116 (a quarter of Path.stat)
    except OSError:
        return -1
