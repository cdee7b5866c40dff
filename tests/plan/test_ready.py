"""Checks that tell whether a component can be used."""

import pytest

from launcher.errors import UserError
from launcher.plan.ready import check_ready, not_ready_because, ready_when
from tests.plans import component, plan_of, rl, sft


@pytest.mark.parametrize(
    "check", ["http://127.0.0.1:8000/health", "https://host/up", "tcp://[::1]:80", r"log:running on port \d{4}"]
)
def test_each_kind_of_check_is_taken(check: str) -> None:
    assert check_ready("inference", check) == check


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ("log:(", "not a regular expression"),
        ("log:", "the regular expression is empty"),
        ("http:///health", "names no host"),
        ("http://h:0/", "nobody listens on that port"),
        ("http://h:99999/", "can never succeed"),
        ("tcp://h", "nobody listens on that port"),
        ("h:80", "none of the checks"),
        ("", "none of the checks"),
    ],
)
def test_a_check_that_can_never_succeed_is_refused_with_those_that_can(check: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as refused:
        check_ready("inference", check)
    assert "tcp://HOST:PORT" in str(refused.value)


def test_a_line_of_a_log_that_stays_empty_is_refused() -> None:
    with pytest.raises(UserError, match="with --tee 0 nothing reaches its log"):
        plan_of(sft("--trainer.ready", "log:step", "--tee", "0"))


def test_placeholders_are_filled_in_before_the_check_is_looked_at() -> None:
    plan = plan_of(rl("--inference.ready", "{inference_url}/up"))
    assert component(plan, "inference").ready == "http://127.0.0.1:4321/up"


def test_people_are_told_what_is_waited_for_and_what_is_missing() -> None:
    assert ready_when("log:up") == "its log has up"
    assert not_ready_because("log:up", "has no such line") == "no line of its log has up"
    assert not_ready_because("tcp://h:1", "refused the connection") == "tcp://h:1 refused the connection"
