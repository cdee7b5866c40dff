"""One attempt after another, and what ends the last of them: histories of events and what is decided."""

import signal
from dataclasses import replace

import pytest

from launcher.failure.failure import Culprit
from launcher.failure.verdict import Setback, Verdict
from launcher.supervisor.rules.actions import (
    Action,
    Await,
    Decided,
    End,
    Explain,
    Kill,
    KillAttempt,
    StartAgain,
    StartAttempt,
    Stop,
    StopAttempt,
)
from launcher.supervisor.rules.events import (
    CannotContinue,
    Event,
    Explained,
    GraceOver,
    GuardDied,
    NewAttempt,
    PauseOver,
    Ready,
    Signalled,
    Started,
)
from launcher.supervisor.rules.lifecycle import State
from launcher.supervisor.rules.policy import Policy
from tests.supervisor.rules.histories import (
    CLOSED,
    ERROR,
    SFT,
    TERMINATED,
    died,
    done,
    kinds,
    lost_its,
    planned,
    policy,
    replay,
    restartable,
    running,
    start_all,
)

OWN = Setback("own error", "trainer", "ValueError", ("trainer", "ValueError"), step=7)
KILLED = Setback("signal", "trainer rank 0", "SIGKILL", ("trainer", "signal"), step=7)


def failed(run: Policy, setback: Setback) -> list[Action]:
    """The trainer fails, and what is decided then."""
    replay(run, died("trainer"), died("orchestrator", TERMINATED))
    return replay(run, Explained(setback))


def begin_again(run: Policy) -> None:
    start_all(run, NewAttempt(run.plan))


def test_a_program_that_fails_twice_in_the_same_way_is_not_started_a_third_time_whatever_is_left() -> None:
    run = restartable(attempts=5)
    assert kinds(failed(run, OWN)) == [Decided, StartAttempt]
    begin_again(run)
    decided, *then = failed(run, OWN)
    assert isinstance(decided, Decided) and not decided.verdict.again
    assert kinds(then) == [Stop]
    assert (run.state, run.culprit) == (State.FAILED, Culprit("trainer", "exit code 1", exit_code=1))
    assert replay(run, died("inference", TERMINATED)) == [End()]


def test_a_program_that_makes_a_step_before_it_fails_again_is_started_again() -> None:
    run = restartable(attempts=5)
    for step in (7, 8, 9):
        assert kinds(failed(run, replace(OWN, step=step))) == [Decided, StartAttempt]
        begin_again(run)


def test_a_restart_waits_for_its_pause_which_grows_without_progress() -> None:
    run = restartable(attempts=5)
    run.backoff = 30.0
    for pause in (30.0, 60.0, 120.0):
        (decided,) = failed(run, KILLED)
        assert isinstance(decided, Decided)
        assert (decided.verdict.again, decided.verdict.seconds) == (True, pause)
        assert replay(run, PauseOver()) == [StartAttempt()]
        begin_again(run)
    (decided,) = failed(run, replace(KILLED, step=8))
    assert isinstance(decided, Decided) and decided.verdict.seconds == 30.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_pause_ends_the_run_at_once(number: signal.Signals) -> None:
    run = restartable()
    run.backoff = 300.0
    failed(run, KILLED)
    assert kinds(replay(run, Signalled(number))) == [Stop]
    assert replay(run, died("inference", TERMINATED)) == [End()]
    assert (run.state, run.exit_code) == (State.STOPPED, 128 + number)
    assert replay(run, PauseOver()) == []


def test_a_server_that_is_started_again_during_the_pause_does_not_end_the_pause() -> None:
    run = planned(inference={"restarts": 1})
    run.restarts, run.backoff = 1, 300.0
    start_all(run)
    failed(run, KILLED)
    assert kinds(replay(run, died("inference"))) == [StartAgain]
    assert replay(run, Started("inference", 7)) == []
    assert replay(run, PauseOver()) == [StartAttempt()]


def test_a_failure_with_attempts_left_ends_what_finishes_and_starts_it_again() -> None:
    run = restartable()
    assert replay(run, died("trainer")) == [StopAttempt("trainer: exit code 1")]
    assert replay(run, died("orchestrator", TERMINATED)) == [Explain()]
    assert replay(run, Explained(OWN)) == [Decided(Verdict("own error", True, "trainer: ValueError")), StartAttempt()]
    replay(run, NewAttempt(run.plan))
    assert (run.state, run.culprit, run.exits, run.collateral) == (State.RUNNING, None, {}, [])


def test_a_server_that_dies_is_the_end_whatever_attempts_are_left() -> None:
    run = restartable()
    assert replay(run, died("inference")) == [Stop("inference: exit code 1")]


def test_a_server_that_dies_between_two_attempts_is_the_end() -> None:
    run = restartable()
    assert replay(run, died("trainer"), died("inference")) == [
        StopAttempt("trainer: exit code 1"),
        Decided(Verdict("own error", False, "trainer: exit code 1; inference: exit code 1")),
        Stop("inference: exit code 1"),
    ]
    assert replay(run, died("orchestrator", TERMINATED)) == [End()]
    assert run.culprit == Culprit("inference", "exit code 1", exit_code=1)


def test_the_grace_between_two_attempts_spares_the_servers() -> None:
    run = restartable()
    replay(run, died("trainer"))
    assert replay(run, GraceOver()) == [KillAttempt()]


def test_an_attempt_that_cannot_be_killed_fails_the_run() -> None:
    run = restartable()
    replay(run, died("trainer"), GraceOver())
    assert kinds(replay(run, GraceOver())) == [Decided, Stop, Kill]
    assert run.state is State.FAILED
    assert run.culprit is not None
    assert "orchestrator cannot be killed, so there can be no other attempt" in run.culprit.what


def test_an_attempt_that_ends_in_the_moment_of_its_deadline_has_ended() -> None:
    run = restartable()
    replay(run, died("trainer"), GraceOver())
    assert replay(run, died("orchestrator", -signal.SIGKILL), GraceOver()) == [Explain()]


def test_each_attempt_has_a_grace_of_its_own() -> None:
    run = restartable(attempts=2)
    replay(run, died("trainer"), GraceOver(), died("orchestrator", -signal.SIGKILL))
    replay(run, NewAttempt(run.plan))
    replay(run, Started("trainer", 1), Started("orchestrator", 2), died("trainer"))
    assert replay(run, GraceOver()) == [KillAttempt()]


def test_a_signal_between_two_attempts_ends_the_run() -> None:
    run = restartable()
    replay(run, died("trainer"))
    assert kinds(replay(run, Signalled(signal.SIGINT))) == [Stop]
    assert (run.state, run.exit_code) == (State.STOPPED, 130)


def test_the_last_attempts_failure_ends_the_run() -> None:
    run = restartable(attempts=1)
    replay(run, died("trainer"), died("orchestrator", TERMINATED))
    replay(run, NewAttempt(run.plan))
    replay(run, Started("trainer", 1), Started("orchestrator", 2))
    assert kinds(replay(run, died("orchestrator"))) == [Stop]
    assert run.state is State.FAILED


def test_a_server_that_is_started_again_between_two_attempts_begins_only_one_of_them() -> None:
    run = planned(inference={"restarts": 1})
    run.restarts = 1
    start_all(run)
    replay(run, done("orchestrator"))
    actions = replay(run, lost_its(CLOSED, client="trainer"), died("inference"))
    assert kinds(actions) == [Await, StartAgain, StopAttempt]
    assert replay(run, Started("inference", 7)) == [Explain()]
    assert replay(run, Ready("inference", 1.0)) == []


def test_a_run_does_not_end_while_a_server_is_being_started_again() -> None:
    run = planned(inference={"restarts": 1}, reward={"may_exit": True})
    start_all(run)
    replay(run, done("reward"), done("trainer"))
    assert kinds(replay(run, died("inference"), done("orchestrator"))) == [StartAgain, Stop]
    assert replay(run, Started("inference", 7)) == []
    assert replay(run, died("inference", TERMINATED)) == [End()]


def test_the_death_of_the_guard_between_two_attempts_ends_the_run() -> None:
    run = policy(SFT)
    run.restarts = 1
    start_all(run)
    assert replay(run, died("trainer")) == [StopAttempt("trainer: exit code 1"), Explain()]
    assert kinds(replay(run, GuardDied())) == [Decided, Kill, End]


def test_an_attempt_that_comes_after_a_signal_is_not_started() -> None:
    run = restartable()
    replay(run, died("trainer"), died("orchestrator", TERMINATED), Signalled(signal.SIGINT))
    assert replay(run, NewAttempt(run.plan)) == []
    assert start_all(run, NewAttempt(run.plan)) == []
    assert (run.state, run.exit_code) == (State.STOPPED, 130)


def test_the_deadline_of_an_attempt_that_is_over_does_nothing_to_the_next() -> None:
    run = restartable()
    replay(run, died("trainer"), died("orchestrator", TERMINATED), NewAttempt(run.plan))
    assert replay(run, GraceOver()) == []


def test_an_attempt_that_cannot_be_made_fails_the_run() -> None:
    run = restartable()
    replay(run, died("trainer"), died("orchestrator"))
    assert kinds(replay(run, CannotContinue("the disk is full"))) == [Decided, Stop]
    assert (run.state, run.culprit) == (State.FAILED, Culprit("trainer", "exit code 1; the disk is full", exit_code=1))


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (died("inference"), "inference: exit code 1"),
        (CannotContinue("the disk is full"), "the disk is full"),
        (GuardDied(), "launch's guard process was killed"),
    ],
)
def test_a_restart_that_was_decided_and_does_not_come_is_taken_back_with_the_reason(event: Event, why: str) -> None:
    run = restartable()
    run.backoff = 300.0
    failed(run, KILLED)
    never = Verdict("signal", False, f"signal: trainer rank 0: SIGKILL; {why}")
    assert replay(run, event)[0] == Decided(never)
    assert run.verdict == never
    assert not run.is_used_up, "the restart that was left was not made"


def test_a_run_that_fails_with_no_restart_left_says_so_and_one_that_is_stopped_or_whose_server_dies_does_not() -> None:
    run = restartable()
    failed(run, KILLED)
    begin_again(run)
    replay(run, died("trainer"))
    assert run.is_used_up
    served = running()
    replay(served, died("inference"))
    assert not served.is_used_up
    stopped = restartable()
    replay(stopped, lost_its(ERROR), Signalled(signal.SIGINT))
    assert (stopped.state, stopped.is_used_up) == (State.FAILED, False)
