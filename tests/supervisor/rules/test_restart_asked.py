"""Somebody asks for the restart of a component: histories of events and what is decided."""

import signal
from dataclasses import replace

import pytest

from launcher.supervisor.rules.actions import Action, Answer, EndOne, KillOne, StartAgain, Stop
from launcher.supervisor.rules.events import (
    Exited,
    NotReady,
    OneOverdue,
    Ready,
    RestartAsked,
    Signalled,
    Silent,
    Started,
)
from launcher.supervisor.rules.lifecycle import State
from launcher.supervisor.rules.policy import Policy
from tests.supervisor.rules.histories import SERVICE, died, done, kinds, policy, replay, running

WHO = "pid 7 (`launch restart`, uid 0)"
WHY = f"restart asked for by {WHO}"
ASKED = RestartAsked("inference", 1, WHO)


def refusal(actions: list[Action]) -> str:
    [answer] = actions
    assert isinstance(answer, Answer)
    return answer.refusal or ""


def test_a_server_is_ended_and_started_again_and_nothing_else_happens() -> None:
    run = running()
    assert replay(run, ASKED) == [Answer(1), EndOne("inference", WHY)]
    assert replay(run, Exited("inference", -signal.SIGTERM, ended_by="launch")) == [StartAgain("inference", WHY)]
    assert replay(run, Started("inference", 200), Ready("inference", 1.0)) == []
    assert run.state is State.RUNNING
    assert kinds(replay(run, done("trainer"), done("orchestrator")))[-1] is Stop


def test_it_may_be_asked_for_as_often_as_one_likes_and_uses_up_no_restart() -> None:
    run = running()
    for number in range(5):
        replay(run, RestartAsked("inference", number, WHO))
        assert replay(run, died("inference", 0)) == [StartAgain("inference", WHY)]
        replay(run, Started("inference", 200))
    assert kinds(replay(run, died("inference"))) == [Stop], "a failure is still one"


def test_a_server_that_ignores_the_request_is_killed_after_the_grace() -> None:
    run = running()
    replay(run, ASKED)
    assert replay(run, OneOverdue("inference")) == [KillOne("inference")]
    assert replay(run, died("inference", -signal.SIGKILL)) == [StartAgain("inference", WHY)]


def test_what_it_fails_to_answer_meanwhile_is_no_failure() -> None:
    run = running()
    replay(run, ASKED)
    assert replay(run, Silent("inference", "http://x", 30.0, ""), NotReady("inference", "http://x", 1.0, "")) == []


def test_a_server_that_does_not_come_back_fails_the_run() -> None:
    run = running()
    replay(run, ASKED, died("inference", 0), Started("inference", 200))
    assert kinds(replay(run, NotReady("inference", "http://x", 1.0, "refused the connection"))) == [Stop]
    assert run.culprit is not None and run.culprit.component == "inference"


@pytest.mark.parametrize("component", ["trainer", "orchestrator"])
def test_what_the_run_lasts_as_long_as_is_not_restarted(component: str) -> None:
    run = running()
    told = refusal(replay(run, RestartAsked(component, 1, WHO)))
    assert told.startswith("the run lasts as long as it does") and told.endswith("can be restarted: inference")


def test_what_does_not_exist_is_refused_with_what_does() -> None:
    told = refusal(replay(running(SERVICE), RestartAsked("rewrad", 1, WHO)))
    assert told == "there is no such component; can be restarted: reward"


def test_a_second_request_before_the_first_is_done_is_refused() -> None:
    run = running()
    replay(run, ASKED)
    assert refusal(replay(run, ASKED)) == "it is being restarted already"
    replay(run, died("inference", 0))
    replay(run, Started("inference", 200))
    assert kinds(replay(run, ASKED)) == [Answer, EndOne]


def test_what_has_not_been_started_is_not_restarted() -> None:
    run = policy()
    run.begin()
    assert refusal(replay(run, ASKED)) == "it has not been started yet"


def test_a_run_that_is_ending_refuses_and_a_restart_under_way_ends_with_it() -> None:
    run = running()
    replay(run, ASKED)
    assert kinds(replay(run, Signalled(signal.SIGTERM))) == [Stop]
    assert replay(run, died("inference", 0)) == []
    assert refusal(replay(run, ASKED)) == "the run is ending"


def test_between_two_attempts_nothing_is_restarted() -> None:
    run = running()
    run.restarts = 1
    replay(run, died("trainer"))
    assert run.state is State.RESTARTING
    assert refusal(replay(run, ASKED)) == "the run is between two attempts"


def test_a_service_that_was_done_is_started_once_more() -> None:
    run: Policy = running(SERVICE)
    plan = run.plan
    run.plan = replace(plan, processes=tuple(replace(spec, may_exit=spec.name == "reward") for spec in plan.processes))
    assert replay(run, done("reward")) == []
    assert replay(run, RestartAsked("reward", 1, WHO)) == [Answer(1), StartAgain("reward", WHY)]
