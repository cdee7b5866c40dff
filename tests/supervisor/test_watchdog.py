"""When a component is quiet: real files, that a test writes."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.plan.nodes import Nodes
from launcher.plan.spec import Plan
from launcher.supervisor import watchdog
from launcher.supervisor.watchdog import WHOLE_RUN, Watchdog
from tests.plans import plan_of, rl, sft

PAUSE = 0.05  # seconds


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(rl(), root=tmp_path)


def say(plan: Plan, component: str) -> None:
    spec = plan.process(component)
    assert spec is not None
    spec.log.parent.mkdir(parents=True, exist_ok=True)
    with spec.log.open("a") as log:
        log.write("a line\n")


def is_quiet(plan: Plan, component: str, *running: str) -> bool:
    """Whether it is, after a pause longer than it may be silent."""
    watched = Watchdog(plan, component)
    time.sleep(PAUSE)
    return watched.is_quiet(PAUSE, running)


def test_a_component_that_imports_torch_and_has_logged_nothing_yet_is_not_quiet(plan: Plan) -> None:
    assert not is_quiet(plan, "trainer", "trainer")
    say(plan, "trainer")
    assert is_quiet(plan, "trainer", "trainer")


def test_a_component_that_hangs_in_its_imports_is_quiet_in_the_end(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "START_SECONDS", PAUSE)
    assert is_quiet(plan, "trainer", "trainer")


def test_a_run_is_not_quiet_while_one_of_its_running_components_has_logged_nothing_yet(plan: Plan) -> None:
    say(plan, "orchestrator")
    say(plan, "inference")
    assert not is_quiet(plan, WHOLE_RUN, "trainer", "orchestrator", "inference")
    assert is_quiet(plan, WHOLE_RUN, "orchestrator", "inference")


def test_what_a_component_logs_is_a_sign_of_life(plan: Plan) -> None:
    say(plan, "trainer")
    watched = Watchdog(plan, "trainer")
    time.sleep(PAUSE)
    say(plan, "trainer")
    assert not watched.is_quiet(PAUSE, ["trainer"])


@pytest.mark.parametrize(("node", "quiet"), [(0, False), (1, True)])
def test_on_several_nodes_the_first_of_a_component_says_whether_it_has_started(
    tmp_path: Path, node: int, quiet: bool
) -> None:
    plan = replace(plan_of(sft(), root=tmp_path), nodes=Nodes(node, 2, 0, "gpu01", 29500))
    assert is_quiet(plan, "trainer", "trainer") is quiet
