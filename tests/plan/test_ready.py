"""Checks that tell whether a component can be used."""

from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.plan.ready import check_ready, not_ready_because, ready_when, silent_because
from launcher.plan.render import render
from launcher.plan.spec import Alive
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
        ("h:80", "not a known kind of check"),
        ("", "not a known kind of check"),
    ],
)
def test_a_check_that_can_never_succeed_is_refused_with_those_that_can(check: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as refused:
        check_ready("inference", check)
    assert "tcp://HOST:PORT" in str(refused.value)


FOREIGN = ("--inference.command", "serve", "--inference.takes-weights")


@pytest.mark.parametrize(
    ("arguments", "check"),
    [
        ((), "http://127.0.0.1:4321/health"),
        (("--inference.alive", "{inference_url}/ping"), "http://127.0.0.1:4321/ping"),
        (("--inference.alive", "off"), None),
        (FOREIGN, None),
        ((*FOREIGN, "--inference.ready", "tcp://h:1"), "tcp://h:1"),
        ((*FOREIGN, "--inference.ready", "log:up"), None),
        ((*FOREIGN, "--inference.ready", "log:up", "--inference.alive", "tcp://h:1"), "tcp://h:1"),
    ],
)
def test_a_server_is_asked_again_what_told_that_it_was_ready_or_what_the_user_says(
    arguments: tuple[str, ...], check: str | None
) -> None:
    alive = component(plan_of(rl(*arguments)), "inference").alive
    assert (alive.check if alive else None) == check


def test_how_often_a_server_is_asked_and_may_miss_can_be_chosen() -> None:
    assert component(plan_of(rl()), "inference").alive == Alive("http://127.0.0.1:4321/health", 10.0, 3)
    chosen = component(plan_of(rl("--inference.alive-interval", "1m", "--inference.alive-misses", "5")), "inference")
    assert chosen.alive == Alive("http://127.0.0.1:4321/health", 60.0, 5)


def test_only_what_serves_is_asked_again() -> None:
    trainer = component(plan_of(sft("--trainer.ready", "tcp://h:1")), "trainer")
    assert trainer.ready and trainer.alive is None


@pytest.mark.parametrize(("check", "why"), [("log:up", "cannot be asked again"), ("h:80", "not a known kind of check")])
def test_a_check_of_life_that_cannot_be_asked_is_refused(check: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as refused:
        plan_of(rl("--inference.alive", check))
    assert "or off" in str(refused.value)


def test_the_plan_says_how_a_server_is_asked() -> None:
    shown = render(plan_of(rl()), Path("/here"), files_are_written=False)
    assert "failed when http://127.0.0.1:4321/health has not answered 3 times in a row, asked every 10s" in shown


def test_a_line_of_a_log_that_stays_empty_is_refused() -> None:
    with pytest.raises(UserError, match="with --tee 0 nothing reaches its log"):
        plan_of(sft("--trainer.ready", "log:step", "--tee", "0"))


def test_placeholders_are_filled_in_before_the_check_is_looked_at() -> None:
    plan = plan_of(rl("--inference.ready", "{inference_url}/up"))
    assert component(plan, "inference").ready == "http://127.0.0.1:4321/up"


def test_people_are_told_what_is_waited_for_and_what_is_missing() -> None:
    assert ready_when("log:up") == "its log has up"
    assert silent_because("tcp://h:1", 30, "refused the connection").startswith("no answer from tcp://h:1 for 30s: it ")
    assert not_ready_because("log:up", "has no such line") == "no line of its log has up"
    assert not_ready_because("tcp://h:1", "refused the connection") == "tcp://h:1 refused the connection"
