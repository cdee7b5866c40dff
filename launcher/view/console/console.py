"""The console during a run: events, the log of the followed component, and progress.

It has its own thread. A terminal paused with Ctrl-S, or a pipe that nobody reads, blocks this thread and never the
supervisor.
"""

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import MappingProxyType

from launcher.logger import get_logger
from launcher.plan.spec import Plan
from launcher.processes.process_tree import terminal_of
from launcher.runs.state import read_state
from launcher.runs.waits import read_waits, waits_text
from launcher.supervisor.rules.actions import Action, Await, Decided, EndOne, StartAgain, Stop, StopAttempt
from launcher.supervisor.rules.events import (
    Event,
    Exited,
    NewAttempt,
    NotStarted,
    RankExited,
    RankStarted,
    Ready,
    Started,
)
from launcher.view.console.acts import Acts
from launcher.view.console.event_log import describe
from launcher.view.console.screen import Screen
from launcher.view.console.short_lines import LEVEL_COLOURS
from launcher.view.logs.followed_file import FollowedLog
from launcher.view.metric_curves import MetricsReader
from launcher.view.terminal import is_dumb

SHORTEST_WAIT = 0.05  # seconds between two looks at the log: grows while nothing happens
SHOWN = (Started, Ready, Await, Decided, EndOne, StartAgain, Stop, StopAttempt, NewAttempt)
DRAWN = (*SHOWN, NotStarted, RankStarted, RankExited, Exited)  # by a view
SILENCE = 30.0  # seconds without output until it shows what the run waits for; then after twice as many


class Console:
    """A listener that shows the run on stdout: `header` first, `close` last. `lost` is called when stdout is gone.

    `guard` is the process that the shell has started. `acts` are keys of the live view, each with its name.
    """

    def __init__(
        self,
        plan: Plan,
        header: str,
        every_line: bool,
        lost: Callable[[OSError], None],
        plain: bool = True,
        guard: int = 0,
        acts: Acts = MappingProxyType({}),
    ) -> None:
        self.plan, self.header, self.every_line, self.lost = plan, header, every_line, lost
        self._last_words = ""
        self._events: queue.SimpleQueue[Event | Action | str | None] = queue.SimpleQueue()
        self._log = FollowedLog(plan.followed, every_line)
        self._metrics = MetricsReader(plan.run.metrics(plan.progress.component))
        self._stopping = self._closing = False
        self._last_shown, self._patience = time.monotonic(), SILENCE
        self._screen = self._make_screen(plain, guard, acts)
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._thread.start()

    def __call__(self, event: Event | Action) -> None:
        if isinstance(
            event, DRAWN if self._screen.is_live else SHOWN
        ):  # others would wake this thread while processes are being ended
            self._events.put(event)

    def close(self, last_words: str, exit_code: int) -> None:
        """Show the rest of the log, then `last_words`. Returns when the console has taken them."""
        self._last_words = last_words
        self._events.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._screen.text(self.header)
            self._show_until_closed()
            self._screen.close()
            sys.stdout.write(self._screen.last_words(self._last_words))
            sys.stdout.flush()
        except OSError as error:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, sys.stdout.fileno())  # the interpreter flushes it at its exit
            self._screen.close()
            self.lost(error)

    def _show_until_closed(self) -> None:
        while not self._closing:
            try:
                self._show()
            except OSError:
                raise
            except Exception:  # a mistake in the view must not cost the run's last words
                get_logger().exception("the live view has failed; lines are shown instead")
                with suppress(Exception):
                    self._screen.close()
                self._screen = Screen(self.plan)

    def _show(self) -> None:
        wait = SHORTEST_WAIT
        while not self._closing:
            events = self._next_events(wait)
            self._closing = closing = None in events
            for event in events:
                self._show_event(event)
            wait = SHORTEST_WAIT if events else min(2 * wait, self._screen.patience)
            has_moved = self._show_log(closing) | self._show_metrics()
            if has_moved:
                wait = min(SHORTEST_WAIT, self._screen.patience)
            self._show_waits(has_moved or bool(events))
            self._screen.flush()

    def _show_waits(self, has_shown: bool) -> None:
        """After a while without output, show what the run waits for, if known."""
        now = time.monotonic()
        if has_shown or self._screen.is_live:
            self._last_shown, self._patience = now, SILENCE
        elif now - self._last_shown >= self._patience and not self._stopping:
            self._patience *= 2
            state = read_state(self.plan.run)
            text = waits_text(read_waits(self.plan.run, state)) if state else ""
            if text:
                self._screen.event(text)

    def _next_events(self, wait: float) -> list[Event | Action | str | None]:
        """Handle all events before reading the log again, because they change which lines are shown."""
        events: list[Event | Action | str | None] = []
        with suppress(queue.Empty):
            events.append(self._events.get(timeout=wait))
            while True:
                events.append(self._events.get_nowait())
        return events

    def _show_event(self, event: Event | Action | str | None) -> None:
        if isinstance(event, str):
            self._screen.key(event)
            return
        self._stopping = self._stopping or isinstance(event, (Stop, StopAttempt))
        if isinstance(event, NewAttempt):
            is_another_log = event.plan.followed.log != self.plan.followed.log  # a server's log continues
            self._show_log(closing=is_another_log)
            self._stopping = False
            if is_another_log:
                self._log = FollowedLog(event.plan.followed, self.every_line)
            self.plan = event.plan
            self._metrics = MetricsReader(event.plan.run.metrics(event.plan.progress.component))
        if event:
            self._screen.hear(event)
        if isinstance(event, SHOWN) and (described := describe(event)):
            level, text = described
            self._screen.event(text, LEVEL_COLOURS.get(level))

    def _show_log(self, closing: bool) -> bool:
        lines = self._log.new_lines(closing)
        for line in lines:
            if not self._stopping or self._is_said_by_a_rank(line):
                self._screen.line(line)
        return bool(lines) or self._log.holds

    def _is_said_by_a_rank(self, line: str) -> bool:
        """Unlike what torchrun says of a SIGTERM: 30 lines of traceback, which stay in the file."""
        return self.plan.followed.ranks is None or line.startswith("[")

    def _show_metrics(self) -> bool:
        steps = self._metrics.new_lines()
        if steps:
            self._screen.steps(steps)
        return bool(steps)

    def _make_screen(self, plain: bool, guard: int, acts: Acts) -> Screen:
        """The screen for the present stdout."""
        if not shows_view(plain, guard):
            return Screen(self.plan)
        from launcher.view.console.live_screen import LiveScreen  # rich takes 50 ms to import

        return LiveScreen(self.plan, guard, self._events.put, acts)


def shows_view(plain: bool, guard: int) -> bool:
    """Whether stdout is a terminal that can be drawn on, and is ours: `launch rl &` in a shell gets lines."""
    return not plain and sys.stdout.isatty() and not is_dumb() and not terminal_of(guard).is_in_background
