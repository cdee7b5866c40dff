"""What is marked of a start from outside."""

import json
from pathlib import Path

import pytest

from launcher.plan.spec import Plan
from launcher.supervisor.listeners.marks import StartMarks
from launcher.supervisor.rules.events import NewAttempt, RankStarted, Ready, Started
from tests.plans import plan_of, rl
from tests.waiting import until


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    plan = plan_of(rl("--nproc", "2"), root=tmp_path / "run")
    plan.run.logs.mkdir(parents=True)
    return plan


def marks(plan: Plan) -> list[tuple[str, str, int | None]]:
    lines = plan.run.marks.read_text().splitlines() if plan.run.marks.exists() else []
    return [(each["component"], each["phase"], each.get("rank")) for each in map(json.loads, lines)]


def test_spawn_ranks_and_ready_are_marked_once(plan: Plan) -> None:
    listener = StartMarks(plan)
    for _ in range(2):
        for event in (Started("trainer", 1), RankStarted("trainer", 1, 3), Ready("inference", 2.0)):
            listener(event)
    assert marks(plan) == [("trainer", "spawn", None), ("trainer", "torchrun", 1), ("inference", "ready", None)]


def test_the_first_output_is_marked_when_it_comes(plan: Plan) -> None:
    listener = StartMarks(plan)
    listener(Started("trainer", 1))
    listener(Started("orchestrator", 2))
    plan.run.component_log("orchestrator").write_text("hello\n")
    until(lambda: ("orchestrator", "first output", None) in marks(plan))
    assert ("trainer", "first output", None) not in marks(plan)
    plan.run.component_log("trainer").write_text("hello\n")
    until(lambda: ("trainer", "first output", None) in marks(plan))


def test_a_new_attempt_has_its_own_marks(plan: Plan, tmp_path: Path) -> None:
    listener, second = StartMarks(plan), plan_of(rl(), root=tmp_path / "run", attempt=2)
    listener(Started("trainer", 1))
    listener(NewAttempt(second))
    listener(Started("trainer", 2))
    assert marks(plan) == marks(second) == [("trainer", "spawn", None)]
