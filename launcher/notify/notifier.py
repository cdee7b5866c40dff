"""Tells people what happens to a run, from a thread: no server can delay or fail the run."""

import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from launcher.borders.masking import masked_line
from launcher.borders.screen import in_one_line
from launcher.config.notify import Happening, NotifyConfig
from launcher.logger import get_logger
from launcher.notify.channels import Channel, Message, NotSent, channels
from launcher.numbers import duration
from launcher.plan.spec import Plan
from launcher.runs.registry import call_name
from launcher.runs.state import FailureState, RunState
from launcher.supervisor.rules.actions import Action, StartAgain, StopAttempt
from launcher.supervisor.rules.events import Event, NewAttempt, Ready, Stalled, Started
from launcher.timeline import first_step_after

MOST = 20  # messages that wait; more are dropped
LOOK = 2.0  # seconds between two looks for the first step
LAST = 3.0  # seconds that the last message may take when everything else is over
LONGEST = 300  # characters of an error


class Notifier:
    """A listener. Without channels it does nothing."""

    def __init__(self, plan: Plan, config: NotifyConfig, to: Sequence[Channel] | None = None) -> None:
        self.plan = plan
        self._where = f"launch status {call_name(plan.run.root, plan.name)}"
        own = [] if plan.run.node else channels(config)  # node 0 speaks for all
        self._channels = own if to is None else list(to)
        self._wanted = frozenset(config.on)
        self._messages: queue.Queue[Message | None] = queue.Queue(MOST)
        self._failed_again: dict[str, str] = {}  # a server that is being restarted -> why
        self._reason = ""  # why the attempt was ended
        self._began = time.time()
        self._awaits_step = "first-step" in self._wanted
        self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
        if self._channels:
            self._thread.start()

    def __call__(self, event: Event | Action) -> None:
        match event:
            case Stalled(component, seconds):
                self.tell("stalled", f"{component or 'it'} has logged nothing and made no step for {seconds:g}s")
            case StartAgain(name, what, int()):
                self._failed_again[name] = what
            case Started(name) if name in self._failed_again and self._has_no_check(name):
                self._tell_it_is_back(name)
            case Ready(name) if name in self._failed_again:
                self._tell_it_is_back(name)
            case StopAttempt(reason):
                self._reason = reason
            case NewAttempt(plan):
                self.plan = plan
                self.tell("recovered", f"attempt {plan.run.attempt} begins after {self._reason}")

    def end(self, state: RunState) -> None:
        """The run has ended. Returns when the last message is sent, or after `LAST` seconds."""
        took = duration((state.ended or time.time()) - state.started)
        if state.state == "failed":
            self.tell("failed", f"after {took}: {_failure_text(state.failure)}")
        elif state.state == "finished":
            self.tell("finished", f"after {took}")
        if self._channels:
            self._put(None)
            self._thread.join(LAST)
            if self._thread.is_alive():
                get_logger().warning("the last notification was not sent within {:g}s", LAST)

    def tell(self, happening: Happening, text: str) -> None:
        if self._channels and happening in self._wanted:
            title = f"{self.plan.kind} run {self.plan.name}: {happening.replace('-', ' ')}"
            self._put(Message(self.plan.name, happening, title, f"{in_one_line(masked_line(text))}\n{self._where}"))

    def _tell_it_is_back(self, component: str) -> None:
        self.tell("recovered", f"{component} was started again after: {self._failed_again.pop(component)}")

    def _has_no_check(self, component: str) -> bool:
        spec = self.plan.process(component)
        return spec is None or spec.ready is None

    def _put(self, message: Message | None) -> None:
        while True:
            try:
                return self._messages.put_nowait(message)
            except queue.Full:
                with suppress(queue.Empty):
                    self._messages.get_nowait()  # the oldest: the end of the run is worth more
                get_logger().warning("a notification was dropped: {} are waiting", MOST)

    # --- the thread ---

    def _work(self) -> None:
        while True:
            try:
                message = self._messages.get(timeout=LOOK if self._awaits_step else None)
            except queue.Empty:
                self._look_for_step()
                continue
            if message is None:
                return
            for channel in self._channels:
                _send(channel, message)

    def _look_for_step(self) -> None:
        at = first_step_after(self.plan.run.metrics(self.plan.progress.component), self._began)
        if at is not None:
            self._awaits_step = False
            self.tell("first-step", f"the first step was done after {duration(at - self._began)}")


def _send(channel: Channel, message: Message) -> None:
    try:
        channel.send(message)
    except NotSent as error:
        get_logger().warning("{} was not told of {!r}: {}", channel.name, message.happening, error)
    except Exception as error:  # a message is never worth more than the run
        get_logger().warning("{} was not told of {!r}: {}", channel.name, message.happening, type(error).__name__)


def _failure_text(failure: FailureState | None) -> str:
    if failure is None:
        return "see launch status"
    rank = "" if failure.rank is None else f" rank {failure.rank}"
    first = (failure.cause.strip().splitlines() or [""])[0]
    return f"{failure.component}{rank}: {failure.what}" + (f": {first[:LONGEST]}" if first else "")
