"""What happens outside the components: signals, requests, the guard's death, silence, messages of other nodes."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from launcher.control.inbox import Inbox
from launcher.logger import get_logger
from launcher.plan.spec import Plan
from launcher.processes.sender import Sender
from launcher.processes.signals import SignalInbox
from launcher.runs.liveness import HEARTBEAT
from launcher.supervisor.components import Components, Post
from launcher.supervisor.conduct import Conduct
from launcher.supervisor.looks import Looks
from launcher.supervisor.rules.events import (
    Event,
    GuardDied,
    Heartbeat,
    HungUp,
    RestartAsked,
    Signalled,
    WatcherDied,
)
from launcher.supervisor.watchdog import Living, report_quiet, watched


class Sensors:
    """Post an event for whatever happens, and do nothing about it. Components post their own starts and ends."""

    def __init__(self, plan: Plan, conduct: Conduct, components: Components, looks: Looks, post: Post) -> None:
        self.conduct, self.components, self.looks, self.post = conduct, components, looks, post
        self.watched = watched(plan, conduct.watchdog)
        self.requests = Inbox(
            plan.run, lambda number, name, by: self.post(RestartAsked(name, number, by)), looks.packed_others
        )
        self.signals = SignalInbox(conduct.guard.signals if conduct.guard else None, self._hear)

    def start(self, running: Living, in_background: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        """Begin to post. Needs a running loop; `running` is what the watchdog watches."""
        self.loop = asyncio.get_running_loop()
        self.signals.listen(self.loop)
        self._take_requests()
        if guard := self.conduct.guard:
            for life, event in (guard.life, GuardDied()), (guard.watcher, WatcherDied()):
                self.loop.add_reader(life, self._above_died, life, event)
        self._beat()
        for component, seconds in self.watched.items():
            in_background(report_quiet(component, seconds, running, self.post))
        if self.conduct.links:
            self.conduct.links.listen(self.loop, self.post, self.looks.hear)

    def close(self) -> None:
        self.requests.close()
        if self.conduct.links:
            self.conduct.links.close()
        self.signals.close()

    def _take_requests(self) -> None:
        try:
            self.requests.listen(self.loop)
        except OSError as error:
            get_logger().info("launch restart will not work: no socket in the run's directory: {}", error.strerror)

    def _beat(self) -> None:
        self.post(Heartbeat())
        self.components.server_logs.beat()
        self.loop.call_later(HEARTBEAT, self._beat)

    def _hear(self, number: signal.Signals, sender: Sender | None) -> None:
        if number is signal.SIGCHLD:
            self.components.reap()
        elif number is signal.SIGHUP and not self.conduct.stop_on_hangup:
            self.post(HungUp())
        else:
            self.post(Signalled(number, sender))

    def _above_died(self, life: int, event: Event) -> None:
        self.loop.remove_reader(life)
        self.post(event)
