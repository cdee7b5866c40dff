"""Histories of events and what is decided: no process, no clock."""

import itertools
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.failure.failure import Culprit, Diagnosis
from launcher.processes.sender import Sender
from launcher.supervisor.rules.actions import (
    Await,
    Diagnose,
    Drain,
    End,
    EndOne,
    Explain,
    Kill,
    KillOne,
    Start,
    StartAgain,
    Stop,
    StopAttempt,
)
from launcher.supervisor.rules.events import (
    CannotContinue,
    DrainTimedOut,
    Event,
    Exited,
    GraceOver,
    GuardDied,
    HungUp,
    NewAttempt,
    NotReady,
    NotStarted,
    OneOverdue,
    Quiet,
    RankExited,
    RanksGone,
    RankStarted,
    Ready,
    Signalled,
    Silent,
    Stalled,
    Started,
    SuspectsOverdue,
)
from launcher.supervisor.rules.lifecycle import State
from launcher.supervisor.rules.suspicion import Suspect
from tests.supervisor.rules.histories import (
    CLOSED,
    DRAIN,
    ERROR,
    RL,
    SERVICE,
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

# --- finishing --------------------------------------------------------------------------------------------------------


def test_sft_has_finished_when_the_trainer_has() -> None:
    run = running(SFT)
    assert replay(run, done("trainer")) == [Stop("the run has finished"), End()]
    assert (run.state, run.exit_code, run.culprit) == (State.FINISHED, 0, None)


@pytest.mark.parametrize(("first", "second"), [("trainer", "orchestrator"), ("orchestrator", "trainer")])
def test_rl_has_finished_when_trainer_and_orchestrator_have_in_either_order(first: str, second: str) -> None:
    run = running()
    assert replay(run, done(first)) == [DRAIN]
    assert run.state is State.RUNNING
    assert replay(run, done(second)) == [Stop("the run has finished")]
    assert replay(run, died("inference", TERMINATED)) == [End()]
    assert (run.state, run.exit_code, run.collateral) == (State.FINISHED, 0, ["inference"])


@pytest.mark.parametrize("code", [0, 1, TERMINATED, -signal.SIGKILL])
def test_how_a_server_ends_after_the_run_is_not_the_runs_exit_code(code: int) -> None:
    run = running()
    replay(run, done("orchestrator"), done("trainer"), died("inference", code))
    assert (run.state, run.exit_code, run.exits["inference"]) == (State.FINISHED, 0, code)


def test_a_server_that_does_not_stop_is_killed_after_the_grace() -> None:
    run = running()
    replay(run, done("orchestrator"), done("trainer"))
    assert replay(run, GraceOver()) == [Kill()]
    assert replay(run, died("inference", -signal.SIGKILL)) == [End()]
    assert run.exit_code == 0


def test_the_last_component_is_given_so_long_to_finish() -> None:
    run = running()
    replay(run, done("orchestrator"))
    assert kinds(replay(run, DrainTimedOut(600.0))) == [Stop]
    assert run.culprit == Culprit("trainer", "did not finish within 600s of the others")
    assert (run.state, run.exit_code) == (State.FAILED, 1)


def test_a_drain_that_is_over_after_the_end_changes_nothing() -> None:
    run = running()
    replay(run, done("orchestrator"), done("trainer"))
    assert replay(run, DrainTimedOut(600.0)) == []
    assert run.exit_code == 0


@pytest.mark.parametrize("event", [Ready("inference", 1.0), RankStarted("trainer", 0, 7), HungUp()])
def test_news_is_no_reason_to_do_anything(event: Event) -> None:
    run = running()
    assert run.on(event) == []
    assert run.state is State.RUNNING


# --- failing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("component", RL)
@pytest.mark.parametrize(
    ("code", "what"),
    [(1, "exit code 1"), (77, "exit code 77"), (-signal.SIGKILL, "SIGKILL"), (-signal.SIGSEGV, "SIGSEGV")],
)
def test_any_component_that_fails_ends_the_run(component: str, code: int, what: str) -> None:
    run = running()
    assert replay(run, died(component, code)) == [Stop(f"{component}: {what}")]
    assert run.culprit == Culprit(component, what, exit_code=code)
    assert (run.state, run.exit_code) == (State.FAILED, 1)


@pytest.mark.parametrize(("components", "server"), [(RL, "inference"), (SERVICE, "reward")])
def test_a_server_that_ends_before_the_run_is_a_failure_even_with_exit_code_0(
    components: tuple[str, ...], server: str
) -> None:
    run = running(components)
    assert kinds(replay(run, done(server))) == [Stop]
    assert run.culprit == Culprit(server, "ended (exit code 0) while the run still needed it", exit_code=0)
    assert run.exit_code == 1


def test_a_component_that_fails_while_the_other_has_finished_is_a_failure() -> None:
    run = running()
    assert kinds(replay(run, done("orchestrator"), died("trainer", 3))) == [Drain, Stop]
    assert run.culprit == Culprit("trainer", "exit code 3", exit_code=3)


def test_a_component_that_is_not_ready_in_time_ends_the_run() -> None:
    run = running()
    assert kinds(replay(run, NotReady("inference", "http://x/health", 60.0, "answered 404 Not Found"))) == [Stop]
    assert run.culprit == Culprit("inference", "was not ready within 60s: http://x/health answered 404 Not Found")


@pytest.mark.parametrize("order", list(itertools.permutations(RL)))
def test_the_first_cause_counts_and_the_rest_is_collateral_in_every_order(order: tuple[str, ...]) -> None:
    run = running()
    actions = replay(run, died(order[0], 5), died(order[1], 1), died(order[2], TERMINATED))
    assert kinds(actions) == [Stop, End]
    assert run.culprit == Culprit(order[0], "exit code 5", exit_code=5)
    assert run.collateral == list(order[1:])
    assert run.exits == {order[0]: 5, order[1]: 1, order[2]: TERMINATED}


@pytest.mark.parametrize(
    "late",
    [
        died("trainer", 9),
        NotReady("inference", "http://x", 1.0, "refused the connection"),
        Silent("inference", "http://x", 30.0, "refused the connection"),
        RankExited("trainer", 1, 1),
        DrainTimedOut(1.0),
        NotStarted("inference", "gone"),
    ],
)
def test_what_happens_while_the_run_is_being_stopped_is_not_its_cause(late: Event) -> None:
    run = running()
    replay(run, died("orchestrator", 2))
    assert replay(run, late) == []
    assert run.culprit == Culprit("orchestrator", "exit code 2", exit_code=2)


# --- starting ---------------------------------------------------------------------------------------------------------


def test_a_component_that_cannot_be_started_fails_the_run() -> None:
    run = policy()
    run.begin()
    assert run.on(Started("trainer", 100)) == [Start("orchestrator")]
    assert kinds(replay(run, NotStarted("orchestrator", "Permission denied"))) == [Stop]
    assert replay(run, died("trainer", TERMINATED)) == [End()]
    assert run.culprit == Culprit("orchestrator", "could not be started: Permission denied")
    assert run.exit_code == 1


def test_a_run_of_which_nothing_could_be_started_ends_at_once() -> None:
    run = policy(SFT)
    assert run.begin() == [Start("trainer")]
    assert kinds(replay(run, NotStarted("trainer", "No such file"))) == [Stop, End]


def test_a_component_that_ends_while_others_are_still_started_does_not_end_the_run_too_early() -> None:
    run = policy()
    run.begin()
    assert run.on(Started("trainer", 100)) == [Start("orchestrator")]
    assert kinds(replay(run, died("trainer", 1), Started("orchestrator", 101))) == [Stop]
    assert replay(run, died("orchestrator", TERMINATED)) == [End()]


# --- ranks ------------------------------------------------------------------------------------------------------------


def test_a_rank_that_fails_ends_the_run_before_torchrun_says_so() -> None:
    run = running()
    assert replay(run, RankExited("trainer", 1, 3)) == [Stop("trainer rank 1: exit code 3")]
    replay(run, died("trainer", 1))
    assert run.culprit == Culprit("trainer", "exit code 3", rank=1, exit_code=3)


@pytest.mark.parametrize("code", [-signal.SIGTERM, 143])
def test_a_rank_that_ended_by_torchruns_sigterm_is_passed_over_for_the_one_that_failed(code: int) -> None:
    run = running(SFT)
    assert replay(run, RankExited("trainer", 0, code)) == []
    replay(run, RankExited("trainer", 1, 3))
    assert run.culprit == Culprit("trainer", "exit code 3", rank=1, exit_code=3)


def test_ranks_that_torchrun_ended_since_it_was_told_to_are_not_the_culprit() -> None:
    run = running(SFT)
    replay(run, RankExited("trainer", 1, TERMINATED, torchrun_got=signal.SIGTERM))
    assert run.culprit == Culprit("trainer", "torchrun received SIGTERM")


@pytest.mark.parametrize(
    "first",
    [
        Exited("trainer", -signal.SIGTERM),
        Exited("trainer", TERMINATED),
        RankExited("trainer", 1, TERMINATED, torchrun_got=signal.SIGTERM),
    ],
)
def test_what_died_of_the_sigterm_that_was_meant_for_the_whole_run_has_not_failed(first: Event) -> None:
    run = running(SFT)
    run.signals_reach_all = True
    replay(run, first)
    assert run.state is State.FAILED
    replay(run, Signalled(signal.SIGTERM), Signalled(signal.SIGTERM))
    assert (run.state, run.culprit, run.exit_code) == (State.STOPPED, None, 143)


def test_a_failure_stays_one_when_the_run_is_cancelled_after_it() -> None:
    run = running(SFT)
    run.signals_reach_all = True
    replay(run, RankExited("trainer", 1, 3), Signalled(signal.SIGTERM))
    assert (run.state, run.exit_code) == (State.FAILED, 1)


def test_a_sigterm_that_comes_twice_by_different_ways_does_not_kill() -> None:
    run = running(SFT)
    run.signals_reach_all = True
    assert kinds(replay(run, Signalled(signal.SIGTERM), Signalled(signal.SIGTERM))) == [Stop]


def test_the_time_limit_stops_a_run_with_an_exit_code_of_its_own() -> None:
    run = running(SFT)
    assert kinds(replay(run, Signalled(signal.SIGUSR1), Signalled(signal.SIGUSR1))) == [Stop]
    assert (run.state, run.exit_code) == (State.STOPPED, 138)


def test_the_first_of_two_ranks_is_the_culprit() -> None:
    run = running(SFT)
    replay(run, RankExited("trainer", 1, -signal.SIGSEGV), RankExited("trainer", 0, -signal.SIGABRT))
    assert run.culprit == Culprit("trainer", "SIGSEGV", rank=1, exit_code=-signal.SIGSEGV)


@pytest.mark.parametrize("code", [0, None])
def test_a_rank_that_ended_well_or_nobody_knows_how_is_left_to_torchrun(code: int | None) -> None:
    run = running(SFT)
    assert replay(run, RankExited("trainer", 0, code)) == []
    assert replay(run, done("trainer")) == [Stop("the run has finished"), End()]
    assert run.exit_code == 0


def test_a_rank_that_torchrun_starts_again_does_not_end_the_run() -> None:
    run = running(SFT, restarts=2)
    assert replay(run, RankExited("trainer", 1, 1), RankExited("trainer", 0, TERMINATED)) == []
    assert kinds(replay(run, done("trainer"))) == [Stop, End]
    assert run.exit_code == 0


def test_after_the_last_restart_torchruns_own_end_is_the_failure() -> None:
    run = running(SFT, restarts=1)
    replay(run, RankExited("trainer", 1, 1), RankExited("trainer", 1, 1), died("trainer", 1))
    assert run.culprit == Culprit("trainer", "exit code 1", exit_code=1)


# --- being stopped ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_the_run_and_is_its_exit_code(number: signal.Signals, exit_code: int) -> None:
    run = running()
    assert replay(run, Signalled(number)) == [Stop(f"{number.name} was received")]
    assert kinds(replay(run, *(died(name, TERMINATED) for name in RL))) == [End]
    assert (run.state, run.exit_code, run.culprit) == (State.STOPPED, exit_code, None)
    assert run.collateral == list(RL)


def test_a_run_that_was_stopped_knows_by_whom_and_the_first_one_counts() -> None:
    run = running()
    first, second = Sender(0, 4711, 1001, b"launch\0stop\0"), Sender(0, 4712, 0)
    assert replay(run, Signalled(signal.SIGTERM, first)) == [Stop("SIGTERM from pid 4711 (`launch stop`, uid 1001)")]
    replay(run, Signalled(signal.SIGQUIT, second))
    assert run.stopped_by == "stopped by pid 4711 (`launch stop`, uid 1001)"


def test_a_signal_while_a_run_fails_is_not_what_has_stopped_it() -> None:
    run = running()
    replay(run, died("trainer", 1), Signalled(signal.SIGTERM, Sender(0, 4711, 1001)))
    assert run.stopped_by is None


def test_ctrl_backslash_stops_now() -> None:
    run = running()
    assert replay(run, Signalled(signal.SIGQUIT)) == [Kill()]
    assert kinds(replay(run, *(died(name, -signal.SIGKILL) for name in RL))) == [End]
    assert (run.state, run.exit_code) == (State.STOPPED, 131)


def test_components_that_finish_well_when_asked_to_stop_do_not_make_it_a_finished_run() -> None:
    run = running()
    replay(run, Signalled(signal.SIGINT), *(done(name) for name in RL))
    assert (run.state, run.exit_code) == (State.STOPPED, 130)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_now_and_the_first_is_the_exit_code(second: signal.Signals) -> None:
    run = running()
    assert kinds(replay(run, Signalled(signal.SIGINT), Signalled(second))) == [Stop, Kill]
    assert run.exit_code == 130


@pytest.mark.parametrize(
    ("before", "exit_code"),
    [([died("trainer", 1)], 1), ([done("orchestrator"), done("trainer")], 0)],
)
def test_a_signal_while_the_run_is_already_ending_only_hurries_it(before: list[Event], exit_code: int) -> None:
    run = running()
    replay(run, *before)
    assert replay(run, Signalled(signal.SIGINT)) == [Kill()]
    assert run.exit_code == exit_code


def test_a_signal_before_everything_has_started_ends_what_has() -> None:
    run = policy()
    run.begin()
    assert kinds(run.on(Signalled(signal.SIGTERM))) == [Stop]
    assert replay(run, Started("trainer", 100)) == []
    assert replay(run, died("trainer", TERMINATED)) == [End()]


def test_the_death_of_the_guard_kills_the_run() -> None:
    run = running()
    assert replay(run, GuardDied()) == [Kill()]
    assert kinds(replay(run, *(died(name, -signal.SIGKILL) for name in RL))) == [End]
    assert run.culprit == Culprit("launch", "its guard process was killed")
    assert (run.state, run.exit_code) == (State.FAILED, 1)


def test_the_death_of_the_guard_while_the_run_is_being_stopped_keeps_the_first_cause() -> None:
    run = running()
    assert kinds(replay(run, Signalled(signal.SIGINT), GuardDied())) == [Stop, Kill]
    assert (run.state, run.exit_code, run.culprit) == (State.STOPPED, 130, None)


# --- order, restarts, services that may end ---------------------------------------------------------------------------


def test_without_an_order_all_are_started_at_once_as_planned() -> None:
    assert start_all(planned()) == [*RL, "reward"]


def test_a_component_waits_until_the_other_is_ready_and_the_rest_does_not() -> None:
    run = planned(trainer={"after": ("inference",)}, inference={"ready": "tcp://h:1"})
    assert start_all(run) == ["orchestrator", "inference", "reward"]
    assert start_all(run, Ready("inference", 1.0)) == ["trainer"]


def test_what_has_no_readiness_is_waited_for_until_it_is_started() -> None:
    run = planned(trainer={"after": ("reward",)}, reward={"after": ("inference",)})
    assert start_all(run) == ["orchestrator", "inference", "reward", "trainer"]


def test_a_run_has_not_finished_while_a_component_still_waits_for_its_start() -> None:
    run = planned(trainer={"after": ("inference",)}, inference={"ready": "tcp://h:1"})
    start_all(run)
    assert replay(run, done("orchestrator")) == [DRAIN]
    assert run.state is State.RUNNING


def test_nothing_is_started_any_more_once_the_run_is_being_stopped() -> None:
    run = planned(trainer={"after": ("inference",)}, inference={"ready": "tcp://h:1"})
    start_all(run)
    replay(run, Signalled(signal.SIGINT), Ready("inference", 1.0))
    assert kinds(replay(run, *(died(name, TERMINATED) for name in ("orchestrator", "inference", "reward")))) == [End]


@pytest.mark.parametrize("code", [0, 1, -signal.SIGKILL])
def test_a_server_is_started_again_as_often_as_it_may(code: int) -> None:
    run = planned(inference={"restarts": 2})
    start_all(run)
    again = [action for _ in range(2) for action in replay(run, died("inference", code), Started("inference", 7))]
    assert [(type(action), action.left) for action in again if isinstance(action, StartAgain)] == [
        (StartAgain, 1),
        (StartAgain, 0),
    ]
    assert run.state is State.RUNNING
    assert kinds(replay(run, died("inference", code))) == [Stop]
    assert run.culprit is not None
    assert run.culprit.component == "inference"


def test_a_server_that_was_never_ready_is_not_started_again() -> None:
    run = planned(inference={"restarts": 2, "ready": "tcp://h:1"})
    start_all(run)
    assert replay(run, died("inference")) == [Stop("inference: exit code 1")]
    assert run.culprit == Culprit("inference", "exit code 1", exit_code=1)


def test_a_server_that_was_ready_once_is_started_again_though_it_fails_before_it_is_ready_again() -> None:
    run = planned(inference={"restarts": 2, "ready": "tcp://h:1"})
    start_all(run)
    history = Ready("inference", 1.0), died("inference"), Started("inference", 7), died("inference")
    assert kinds(replay(run, *history)) == [StartAgain, StartAgain]


SILENT = Silent("inference", "http://h:1/health", 30.0, "did not answer within 10s")


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ("did not answer within 10s", "no answer from /health for 30s"),
        ("refused the connection", "no answer from /health for 30s: it refused the connection"),
        (
            "answered 503 Service Unavailable",
            "no good answer from /health for 30s: it answered 503 Service Unavailable",
        ),
    ],
)
def test_a_server_that_falls_silent_has_failed(answer: str, what: str) -> None:
    run = running()
    assert replay(run, replace(SILENT, answer=answer)) == [Stop(f"inference: {what}")]
    assert run.culprit == Culprit("inference", what)


def test_a_service_that_may_exit_is_started_again_after_launch_has_ended_it_for_its_silence() -> None:
    run = planned(reward={"may_exit": True, "restarts": 2, "ready": "http://h:1/health"})
    start_all(run)
    silent = replace(SILENT, component="reward")
    assert kinds(replay(run, Ready("reward", 1.0), silent)) == [EndOne]
    assert kinds(replay(run, done("reward"))) == [StartAgain]
    assert kinds(replay(run, Started("reward", 7), Ready("reward", 1.0), silent)) == [EndOne]


def test_a_silent_server_is_ended_and_then_started_again_and_that_counts_as_one_start() -> None:
    run = planned(inference={"restarts": 2, "ready": "http://h:1/health"})
    start_all(run)
    what = "no answer from /health for 30s"
    assert replay(run, Ready("inference", 1.0), SILENT, SILENT) == [EndOne("inference", what)]
    assert replay(run, died("inference", TERMINATED)) == [StartAgain("inference", what, left=1)]
    assert replay(run, Started("inference", 7), Ready("inference", 1.0), died("inference", 3)) == [
        StartAgain("inference", "exit code 3", left=0)
    ]
    assert kinds(replay(run, Started("inference", 8), Ready("inference", 1.0), SILENT)) == [Stop]
    assert run.culprit == Culprit("inference", what)


def test_a_server_that_does_not_become_ready_again_has_its_other_chances() -> None:
    run = planned(inference={"restarts": 2, "ready": "tcp://h:1"})
    start_all(run)
    late = NotReady("inference", "tcp://h:1", 60.0, "refused the connection")
    replay(run, Ready("inference", 1.0), died("inference"), Started("inference", 7))
    assert kinds(replay(run, late, died("inference", TERMINATED))) == [EndOne, StartAgain]


def test_a_run_that_is_stopped_while_a_silent_server_ends_does_not_start_it_again() -> None:
    run = planned(inference={"restarts": 2, "ready": "tcp://h:1"})
    start_all(run)
    replay(run, Ready("inference", 1.0), SILENT)
    assert kinds(replay(run, Signalled(signal.SIGINT), died("inference", TERMINATED), SILENT)) == [Stop]


def test_a_silent_server_that_cannot_be_killed_ends_the_run() -> None:
    run = planned(inference={"restarts": 2, "ready": "tcp://h:1"})
    start_all(run)
    assert kinds(replay(run, Ready("inference", 1.0), SILENT)) == [EndOne]
    assert replay(run, OneOverdue("inference")) == [KillOne("inference")]
    assert kinds(replay(run, OneOverdue("inference"))) == [Stop]
    assert run.culprit == Culprit("launch", "inference cannot be killed, so it cannot be started again")


def test_a_silent_server_that_was_killed_is_started_again() -> None:
    run = planned(inference={"restarts": 2, "ready": "tcp://h:1"})
    start_all(run)
    replay(run, Ready("inference", 1.0), SILENT, OneOverdue("inference"))
    assert kinds(replay(run, died("inference", -signal.SIGKILL))) == [StartAgain]
    assert replay(run, OneOverdue("inference")) == []


def test_a_torchrun_that_does_not_end_after_its_ranks_is_killed_alone() -> None:
    run = running()
    assert kinds(replay(run, died("orchestrator"), RanksGone("trainer"))) == [Stop, KillOne]
    assert replay(run, died("trainer", -signal.SIGKILL), RanksGone("trainer")) == []


def test_a_mistake_of_launch_while_the_run_is_being_ended_kills_what_is_alive() -> None:
    run = running()
    assert kinds(replay(run, died("trainer"), CannotContinue("launch itself failed"))) == [Stop, Kill]
    assert run.culprit == Culprit("trainer", "exit code 1", exit_code=1)


def test_what_comes_after_a_server_that_is_started_again_waits_for_it() -> None:
    run = planned(trainer={"after": ("inference",)}, inference={"restarts": 2, "ready": "tcp://h:1"})
    run.restarts = 1
    start_all(run)
    replay(run, Ready("inference", 1.0))
    start_all(run)
    replay(run, died("inference"), Started("inference", 7), died("orchestrator"), died("trainer", TERMINATED))
    assert start_all(run, NewAttempt(run.plan)) == ["orchestrator"]
    assert start_all(run, Ready("inference", 1.0)) == ["trainer"]


def test_a_server_that_ends_while_the_run_is_being_stopped_stays_ended() -> None:
    run = planned(inference={"restarts": 2})
    start_all(run)
    assert kinds(replay(run, Signalled(signal.SIGINT), died("inference", TERMINATED))) == [Stop]


def test_a_service_may_end_with_0_where_it_is_said_but_not_fail() -> None:
    run = planned(reward={"may_exit": True})
    start_all(run)
    assert replay(run, done("reward")) == []
    assert run.state is State.RUNNING
    run = planned(reward={"may_exit": True})
    start_all(run)
    assert kinds(replay(run, died("reward", 1))) == [Stop]


def test_what_comes_after_a_service_that_prepares_and_ends_is_started_then() -> None:
    run = planned(trainer={"after": ("reward",)}, reward={"may_exit": True, "ready": "log:done"})
    assert "trainer" not in start_all(run)
    assert start_all(run, done("reward")) == ["trainer"]


# --- the server, not its client ---------------------------------------------------------------------------------------

BEFORE = "its port 8000 was closed before orchestrator failed"
AWAIT = Await((CLOSED,), 5.0)


@pytest.mark.parametrize(("code", "ending"), [(1, "exit code 1"), (-signal.SIGKILL, "SIGKILL")])
def test_a_dying_server_is_waited_for_and_named_and_its_client_is_collateral(code: int, ending: str) -> None:
    run = running()
    assert replay(run, lost_its(CLOSED)) == [AWAIT]
    assert (run.state, run.culprit) == (State.RUNNING, None)
    assert kinds(replay(run, died("inference", code))) == [Stop]
    assert run.culprit == Culprit("inference", f"{ending}; {BEFORE}", exit_code=code)
    assert replay(run, died("trainer", TERMINATED)) == [End()]
    assert (run.state, run.exit_code, run.collateral) == (State.FAILED, 1, ["orchestrator", "trainer"])


def test_nobody_is_waited_for_when_no_server_is_suspect() -> None:
    assert kinds(replay(running(), died("orchestrator"))) == [Stop]
    assert kinds(replay(running(), RankExited("trainer", 1, 1))) == [Stop]


def test_a_suspect_that_has_ended_already_is_not_waited_for() -> None:
    run = planned(reward={"may_exit": True})
    start_all(run)
    replay(run, done("reward"))
    assert kinds(replay(run, lost_its(Suspect("reward", "its log had an error")))) == [Stop]


def test_a_server_whose_port_is_closed_is_named_even_if_it_does_not_end() -> None:
    run = running()
    assert kinds(replay(run, lost_its(CLOSED), SuspectsOverdue())) == [Await, Stop]
    assert run.culprit == Culprit("inference", BEFORE)


def test_a_server_that_has_only_logged_an_error_and_lives_on_is_not_named() -> None:
    run = running()
    assert kinds(replay(run, lost_its(ERROR), SuspectsOverdue())) == [Await, Stop]
    assert run.culprit == Culprit("orchestrator", "exit code 1", exit_code=1)


def test_a_server_that_has_logged_an_error_and_ends_is_named() -> None:
    run = running()
    replay(run, lost_its(ERROR), died("inference", 1))
    assert run.culprit == Culprit(
        "inference", "exit code 1; its log had an error before orchestrator failed", exit_code=1
    )


def test_a_rank_that_fails_of_a_dying_server_is_collateral_and_so_are_those_that_follow() -> None:
    run = running()
    history = RankExited("trainer", 1, 1, None, (CLOSED,)), died("trainer"), lost_its(CLOSED)
    assert replay(run, *history) == [AWAIT]
    assert kinds(replay(run, died("inference"))) == [Stop, End]
    assert run.culprit == Culprit(
        "inference", "exit code 1; its port 8000 was closed before trainer failed", exit_code=1
    )
    assert run.collateral == ["trainer", "orchestrator"]


def test_a_run_does_not_finish_while_it_is_open_who_has_failed() -> None:
    run = running()
    assert kinds(replay(run, lost_its(ERROR), done("trainer"))) == [Await]
    assert kinds(replay(run, SuspectsOverdue(), died("inference", TERMINATED))) == [Stop, End]
    assert (run.state, run.exit_code) == (State.FAILED, 1)


def test_a_suspect_that_falls_silent_is_named() -> None:
    run = running()
    replay(run, lost_its(Suspect("inference", "it had not answered /health for 10s", is_certain=False)), SILENT)
    assert run.culprit is not None
    assert run.culprit.component == "inference"
    assert run.culprit.what.startswith("no answer from /health for 30s; it had not answered")


def test_another_server_that_ends_meanwhile_may_have_died_of_the_client() -> None:
    run = running((*RL, "reward"))
    assert kinds(replay(run, lost_its(ERROR), died("reward", 1))) == [Await, Stop]
    assert run.culprit == Culprit("orchestrator", "exit code 1", exit_code=1)
    assert run.collateral == ["orchestrator", "reward"]


@pytest.mark.parametrize(
    ("number", "asked"), [(signal.SIGINT, [Stop]), (signal.SIGTERM, [Stop]), (signal.SIGQUIT, [Stop, Kill])]
)
def test_a_signal_ends_the_waiting_and_the_run_has_failed_nevertheless(
    number: signal.Signals, asked: list[type]
) -> None:
    run = running()
    run.restarts = 1
    replay(run, lost_its(ERROR))
    assert kinds(replay(run, Signalled(number))) == asked
    assert (run.state, run.exit_code) == (State.FAILED, 1)
    assert run.culprit == Culprit("orchestrator", "exit code 1", exit_code=1)
    assert replay(run, SuspectsOverdue()) == []


def test_a_run_that_is_cancelled_by_signals_to_all_has_not_failed_because_a_server_heard_it_first() -> None:
    run = running()
    run.signals_reach_all = True
    replay(run, lost_its(CLOSED), Signalled(signal.SIGTERM))
    assert (run.state, run.culprit, run.exit_code) == (State.STOPPED, None, 143)


def test_a_dying_server_that_is_started_again_and_the_attempt_of_its_client_go_on_together() -> None:
    run = planned(inference={"restarts": 1})
    run.restarts = 1
    start_all(run)
    assert kinds(replay(run, lost_its(CLOSED), died("inference"))) == [Await, StartAgain, StopAttempt]
    replay(run, Started("inference", 7))
    assert replay(run, died("trainer", TERMINATED)) == [Explain()]


def test_a_dying_server_is_not_started_again_for_a_run_whose_client_has_failed_for_good() -> None:
    run = planned(inference={"restarts": 1})
    start_all(run)
    assert kinds(replay(run, lost_its(CLOSED), died("inference"))) == [Await, Stop]
    assert run.culprit == Culprit("inference", f"exit code 1; {BEFORE}", exit_code=1)


def test_a_client_of_a_server_that_lives_on_is_restarted_as_ever() -> None:
    run = restartable()
    assert kinds(replay(run, lost_its(ERROR), SuspectsOverdue())) == [Await, StopAttempt]
    assert replay(run, died("trainer", TERMINATED)) == [Explain()]


def test_nothing_is_started_while_it_is_open_who_has_failed() -> None:
    run = planned(trainer={"after": ("inference",)}, inference={"ready": "tcp://h:1"})
    start_all(run)
    replay(run, lost_its(Suspect("reward", "its log had an error")), Ready("inference", 1.0))
    assert start_all(run) == []


# --- every history ----------------------------------------------------------------------------------------------------

HAPPENINGS: list[Event] = [
    done("trainer"),
    died("trainer", 1),
    done("orchestrator"),
    done("inference"),
    died("inference", TERMINATED),
    RankExited("trainer", 1, 9),
    lost_its(CLOSED),
    lost_its(ERROR, "trainer"),
    SuspectsOverdue(),
    Signalled(signal.SIGINT),
    DrainTimedOut(600.0),
    GraceOver(),
    GuardDied(),
    RanksGone("trainer"),
]


def possible(history: tuple[Event, ...]) -> bool:
    """No component exits twice."""
    exits = [event.component for event in history if isinstance(event, Exited)]
    return len(exits) == len(set(exits))


@pytest.mark.parametrize("first", HAPPENINGS, ids=str)
def test_whatever_happens_a_run_stops_once_ends_once_and_ends_only_when_nothing_is_left(first: Event) -> None:
    for rest in itertools.permutations([event for event in HAPPENINGS if event is not first], 3):
        history = (first, *rest)
        if not possible(history):
            continue
        run = running()
        actions = replay(run, *history)
        missing = [name for name in RL if name not in run.exits]
        assert kinds(actions).count(Stop) <= 1, history
        assert (End in kinds(actions)) == (not missing), history
        actions += replay(run, *(died(name, -signal.SIGKILL) for name in missing))
        assert kinds(actions).count(End) == 1, history
        assert run.state is not State.RUNNING, history
        assert (run.exit_code == 0) == (run.state is State.FINISHED), history
        assert (run.culprit is None) == (run.state is not State.FAILED), history


# --- a run that stands still ------------------------------------------------------------------------------------------


def test_a_stalled_run_fails_with_the_rank_that_stands_apart() -> None:
    run = running(SFT)
    assert replay(run, Quiet("", 600.0)) == [Diagnose("", 600.0)]
    found = Diagnosis(1, ("rank 0 waits in all_reduce", "straggler: rank 1"), Path("/runs/stacks.txt"))
    assert kinds(replay(run, Stalled("", 600.0, found))) == [Stop]
    assert run.culprit is not None
    assert (run.culprit.component, run.culprit.rank) == ("trainer", 1)
    assert run.culprit.words == "rank 0 waits in all_reduce\nstraggler: rank 1"
    assert run.culprit.file == Path("/runs/stacks.txt")


def test_a_stalled_component_is_named_and_no_rank_of_another() -> None:
    run = running(RL)
    assert replay(run, Quiet("orchestrator", 60.0)) == [Diagnose("orchestrator", 60.0)]
    replay(run, Stalled("orchestrator", 60.0, Diagnosis(1)))
    assert run.culprit == Culprit("orchestrator", "nothing has been logged and no step made for 60s")


def test_what_is_quiet_while_the_run_ends_is_not_looked_at() -> None:
    run = running(RL)
    replay(run, died("trainer"))
    assert replay(run, Quiet("orchestrator", 60.0)) == []
