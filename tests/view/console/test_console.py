"""What the console says while nothing else is said."""

import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.instrumentation import waiting
from launcher.plan.spec import Role
from launcher.runs.state_file import StateFile, first_state
from launcher.supervisor.listeners.state import StateListener
from launcher.supervisor.rules.events import NewAttempt, Started
from launcher.view.console import console
from launcher.view.console.console import Console
from launcher.view.console.screen import Screen
from tests.plans import plan_of, rl
from tests.waiting import until


def test_after_a_while_of_silence_it_says_what_the_run_waits_for_and_then_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "SILENCE", 0.3)
    monkeypatch.setattr(waiting, "SHORT", 0.05)
    plan = plan_of(rl(), root=tmp_path)
    plan.run.logs.mkdir(parents=True)
    tell = StateListener(StateFile(plan.run, first_state(plan, {})))
    tell(Started("orchestrator", os.getpid()))
    waiting.report_waits(plan.run, "orchestrator", None)
    begun = time.monotonic()
    shown = Console(plan, "header", every_line=False, lost=lambda error: None)
    said: list[str] = []

    def heard() -> list[str]:
        said.extend(line for line in capsys.readouterr().out.splitlines() if "has waited" in line)
        return said

    try:
        with waiting.waiting_for("weights 12"):
            until(lambda: len(heard()) > 2)
            assert time.monotonic() - begun > 4 * 0.3
    finally:
        shown.close("", 0)
        waiting.report_waits(None, None, None)
    assert re.fullmatch(r"\d\d:\d\d:\d\d launch {7}orchestrator has waited \d+ s for weights 12", said[0])


def test_a_mistake_in_the_view_costs_neither_a_line_nor_the_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Screen):
        def flush(self) -> None:
            raise ZeroDivisionError

    monkeypatch.setattr(Console, "_make_screen", lambda self, *_: Broken(self.plan))
    plan = plan_of(rl(), root=tmp_path)
    plan.run.logs.mkdir(parents=True)
    shown = Console(plan, "header", every_line=False, lost=lambda error: None)
    plan.followed.log.write_text("a line\n")
    shown.close("the last words", 0)
    said = capsys.readouterr().out
    assert all(text in said for text in ("header", "a line", "the last words"))


def test_a_server_that_lives_through_an_attempt_has_its_lines_shown_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = plan_of(rl(), root=tmp_path)
    plan = replace(whole, processes=tuple(spec for spec in whole.processes if spec.role is Role.SERVES))
    plan.run.logs.mkdir(parents=True)
    shown = Console(plan, "header", every_line=False, lost=lambda error: None)
    plan.followed.log.write_text("a line of the first attempt\n")
    shown(NewAttempt(replace(plan, run=plan.run.of(2))))
    with plan.followed.log.open("a") as log:
        log.write("a line of the second\n")
    shown.close("the last words", 0)
    said = capsys.readouterr().out
    assert [said.count(text) for text in ("a line of the first", "a line of the second")] == [1, 1]
