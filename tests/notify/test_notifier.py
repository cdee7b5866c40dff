"""What people are told of, and that nobody waits for it."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.config.notify import NotifyConfig
from launcher.failure.failure import Diagnosis
from launcher.notify import notifier as module
from launcher.notify.channels import Channel, Message, NotSent
from launcher.notify.notifier import MOST, Notifier
from launcher.plan.spec import Plan
from launcher.runs.state import FailureState, RunState
from launcher.supervisor.rules.actions import StartAgain, StopAttempt
from launcher.supervisor.rules.events import NewAttempt, Ready, Stalled, Started
from tests.plans import plan_of, rl
from tests.states import state_of
from tests.waiting import until


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(module, "LAST", 60.0)  # a busy machine may take more than the usual three
    return plan_of(rl(), root=tmp_path / "otter")


class Told:
    """A channel that keeps what it is told."""

    def __init__(self, plan: Plan, *on: str) -> None:
        self.messages: list[Message] = []
        config = NotifyConfig.model_validate({"enabled": True, **({"on": on} if on else {})})
        self.notifier = Notifier(plan, config, [Channel("a friend", self.messages.append)])

    def texts(self, count: int) -> list[str]:
        until(lambda: len(self.messages) >= count)
        return [f"{message.happening}: {message.text.splitlines()[0]}" for message in self.messages]


def ended(plan: Plan, state: str, failure: FailureState | None = None) -> RunState:
    return state_of(plan.run, state=state, started=1000.0, ended=1125.0, failure=failure)


def failure(**more: Any) -> FailureState:
    facts = {"component": "trainer", "rank": 1, "what": "exit code 3", "cause": "ValueError: bad\n  at x", "log": None}
    return FailureState.model_validate({**facts, "collateral": [], "text": "", **more})


def test_a_failure_is_told_with_culprit_and_error(plan: Plan) -> None:
    told = Told(plan)
    told.notifier.end(ended(plan, "failed", failure()))
    assert told.texts(1) == ["failed: after 2m 05s: trainer rank 1: exit code 3: ValueError: bad"]
    assert told.messages[0].title == "rl run otter: failed"
    assert told.messages[0].text.endswith(f"launch status {plan.run.root}") or "launch status" in told.messages[0].text


def test_the_end_of_a_run_is_told_unless_somebody_stopped_it(plan: Plan) -> None:
    finished, stopped = Told(plan), Told(plan)
    finished.notifier.end(ended(plan, "finished"))
    stopped.notifier.end(ended(plan, "stopped"))
    assert finished.texts(1) == ["finished: after 2m 05s"]
    assert stopped.messages == []


def test_a_stall_and_a_new_attempt_are_told(plan: Plan) -> None:
    told = Told(plan)
    for event in (Stalled("", 600.0, Diagnosis()), StopAttempt("trainer: exit code 1"), NewAttempt(plan)):
        told.notifier(event)
    assert told.texts(2) == [
        "stalled: it has logged nothing and made no step for 600s",
        "recovered: attempt 1 begins after trainer: exit code 1",
    ]


def test_a_server_that_is_back_after_a_failure_is_told_but_not_after_a_request(plan: Plan) -> None:
    told = Told(plan)
    told.notifier(StartAgain("inference", "restart asked for by pid 7"))
    told.notifier(Ready("inference", 1.0))
    told.notifier(StartAgain("inference", "exit code 3", 2))
    told.notifier(Started("inference", 7))
    told.notifier(Ready("inference", 1.0))
    told.notifier(Ready("inference", 1.0))
    told.notifier.end(ended(plan, "stopped"))
    assert told.texts(1) == ["recovered: inference was started again after: exit code 3"]


def test_the_first_step_is_told_once(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.02)
    told = Told(plan)
    path = plan.run.metrics(plan.progress.component)
    path.parent.mkdir(parents=True)
    for step in (0, 1, 2):
        with path.open("a") as file:
            file.write(json.dumps({"step": step, "time": told.notifier._began + 5.2}) + "\n")
    [text] = told.texts(1)
    assert text.startswith("first-step: the first step was done after 5s")


def test_only_what_was_asked_for_is_told(plan: Plan) -> None:
    told = Told(plan, "failed")
    told.notifier(Stalled("", 600.0, Diagnosis()))
    told.notifier.end(ended(plan, "failed"))
    assert [message.happening for message in told.messages] == ["failed"]


def test_secrets_and_control_characters_are_not_told(plan: Plan) -> None:
    told = Told(plan)
    cause = "Error at https://me:sesame@host \x1b[2J with Authorization: Bearer sesame"
    told.notifier.end(ended(plan, "failed", failure(cause=cause)))
    [text] = told.texts(1)
    assert "sesame" not in text and "\x1b" not in text


def test_a_channel_that_hangs_holds_nobody_up_and_the_end_for_seconds_at_most(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST", 0.2)
    for_ever = threading.Event()
    notifier = Notifier(plan, NotifyConfig(enabled=True), [Channel("a friend", lambda _: _hang(for_ever))])
    begun = time.monotonic()
    for _ in range(3 * MOST):
        notifier(Stalled("", 600.0, Diagnosis()))
    notifier.end(ended(plan, "finished"))
    assert time.monotonic() - begun < 5
    for_ever.set()


def _hang(event: threading.Event) -> None:
    event.wait(60)


@pytest.mark.parametrize("error", [NotSent("it answered 500"), RuntimeError("our own mistake")])
def test_a_channel_that_fails_does_not_keep_the_others_from_being_told(plan: Plan, error: Exception) -> None:
    messages: list[Message] = []

    def fail(message: Message) -> None:
        raise error

    to = [Channel("a foe", fail), Channel("a friend", messages.append)]
    notifier = Notifier(plan, NotifyConfig(enabled=True), to)
    notifier(Stalled("", 600.0, Diagnosis()))
    notifier.end(ended(plan, "finished"))
    assert [message.happening for message in messages] == ["stalled", "finished"]


def test_only_node_0_tells(plan: Plan) -> None:
    assert Notifier(plan, NotifyConfig(enabled=True, desktop=True))._channels != []
    from dataclasses import replace

    elsewhere = replace(plan, run=plan.run.on(1))
    assert Notifier(elsewhere, NotifyConfig(enabled=True, desktop=True))._channels == []


def test_of_too_many_messages_the_oldest_are_dropped_and_the_end_is_told(plan: Plan) -> None:
    goes, told = threading.Event(), list[str]()

    def slow(message: Message) -> None:
        goes.wait(60)
        told.append(message.happening)

    notifier = Notifier(plan, NotifyConfig(enabled=True), [Channel("slow", slow)])
    for _ in range(MOST + 5):
        notifier.tell("stalled", "it")
    threading.Timer(0.1, goes.set).start()
    notifier.end(ended(plan, "failed", failure()))
    assert told[-1] == "failed"
