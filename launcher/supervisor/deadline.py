"""The one deadline of a run."""

import asyncio
from collections.abc import Callable

from launcher.supervisor.rules.events import DrainTimedOut, Event, GraceOver, NodesOverdue, PauseOver, SuspectsOverdue

DEADLINES = (GraceOver, DrainTimedOut, SuspectsOverdue, NodesOverdue, PauseOver)


class Deadline:
    """Posts an event when its time has come. A new one replaces the old one: the grace replaces the drain, say."""

    def __init__(self, post: Callable[[Event], None]) -> None:
        self._post = post
        self._due: Event | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, event: Event) -> None:
        """Post the event, one of DEADLINES, after so many seconds."""
        self.cancel()
        self._due = event
        self._timer = asyncio.get_running_loop().call_later(seconds, self._post, event)

    def cancel(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._due = None

    def is_outdated(self, event: Event) -> bool:
        """Whether a deadline was replaced or cancelled while its event was already in the queue."""
        return isinstance(event, DEADLINES) and event is not self._due
