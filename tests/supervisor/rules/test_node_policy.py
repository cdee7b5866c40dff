"""Runs on several nodes, as histories of events and reports: no process, no connection, no clock."""

import random
import signal
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.failure.failure import Culprit, Failure, exit_text
from launcher.failure.verdict import Setback, Verdict, judge
from launcher.nodes.messages import Lost, Report, Reported
from launcher.plan.nodes import Nodes
from launcher.plan.spec import Plan, ProcessSpec, Progress, Ranks, Role
from launcher.processes.sender import Sender
from launcher.rundir import RunDir
from launcher.supervisor.rules.actions import (
    Action,
    AwaitNodes,
    Decided,
    Diagnose,
    Drain,
    End,
    Explain,
    Kill,
    KillAttempt,
    Start,
    StartAttempt,
    Stop,
    StopAttempt,
)
from launcher.supervisor.rules.events import (
    Event,
    Exited,
    Explained,
    GraceOver,
    Moving,
    NewAttempt,
    NodesOverdue,
    PauseOver,
    Quiet,
    RankExited,
    Signalled,
    Started,
)
from launcher.supervisor.rules.lifecycle import State
from launcher.supervisor.rules.node_policy import NodePolicy

HERE = Path("/runs/otter")
RUNNING = Report("running")
DONE = Report("running", done=True)


def policy(node: int = 0, trainer: int = 2, inference: int = 0) -> NodePolicy:
    """The policy of one node, whose component has started: a trainer of two ranks, or a server."""
    nodes = Nodes(node, trainer, inference, "gpu01", 29500)
    ranks = Ranks(2, (0,), HERE, first=2 * node)
    spec = (
        ProcessSpec("trainer", ("true",), Role.FINISHES, HERE, HERE / "log", ranks=ranks)
        if nodes.runs("trainer")
        else ProcessSpec("inference", ("true",), Role.SERVES, HERE, HERE / "log")
    )
    progress = Progress("trainer", "loss", 10)
    plan = Plan("sft", "otter", RunDir(HERE, 1, node), (spec,), (), progress, 30.0, 600.0, nodes=nodes)
    found = NodePolicy(plan)
    assert found.begin() == [Start(spec.name)]
    assert found.on(Started(spec.name, 100)) == []
    return found


def replay(on: NodePolicy, *events: Event) -> list[Action]:
    return [action for event in events for action in on.on(event)]


FAILED_ON_1 = Culprit("trainer", "exit code 1", 3, 1, node=1)


# --- a run that stands still -----------------------------------------------------------------------------------------


def quiet(*components: str) -> Report:
    return Report("running", quiet=tuple((name, 60.0) for name in components))


def test_a_run_stands_still_only_when_all_of_its_nodes_are_quiet() -> None:
    run = policy()
    assert replay(run, Quiet("", 60.0)) == []
    assert replay(run, Reported(1, quiet(""))) == [Diagnose("", 60.0)]


def test_a_node_that_logs_again_keeps_the_run_going() -> None:
    run = policy()
    assert replay(run, Reported(1, quiet("")), Reported(1, RUNNING), Quiet("", 60.0)) == []
    assert replay(run, Moving(""), Reported(1, quiet(""))) == []
    assert replay(run, Quiet("", 60.0)) == [Diagnose("", 60.0)]


def test_a_component_is_looked_for_on_the_nodes_that_run_it() -> None:
    run = policy(trainer=2, inference=1)
    assert replay(run, Quiet("trainer", 60.0)) == []
    assert replay(run, Reported(1, quiet("trainer"))) == [Diagnose("trainer", 60.0)]
    assert replay(policy(trainer=2, inference=1), Reported(2, quiet("inference"))) == [Diagnose("inference", 60.0)]


def test_another_node_only_tells_that_it_is_quiet() -> None:
    run = policy(node=1)
    assert replay(run, Quiet("trainer", 60.0)) == []
    assert run.report() == quiet("trainer")
    assert replay(run, Moving("trainer")) == []
    assert run.report() == RUNNING


# --- finishing --------------------------------------------------------------------------------------------------------


def test_node_0_has_finished_when_every_node_of_the_trainer_is_done() -> None:
    run = policy()
    assert replay(run, Exited("trainer", 0)) == [Drain(600.0)]
    assert run.state is State.RUNNING
    assert replay(run, Reported(1, DONE)) == [Stop("the run has finished"), AwaitNodes()]
    assert run.report() == Report("finished", done=True)
    assert replay(run, Reported(1, Report("finished", done=True, ended=True))) == [End()]
    assert run.report().ended
    assert run.exit_code == 0


def test_another_node_that_is_done_waits_until_node_0_says_that_the_run_has_finished() -> None:
    run = policy(node=1)
    assert replay(run, Exited("trainer", 0)) == [Drain(600.0)]
    assert run.report() == DONE
    assert replay(run, Reported(0, Report("finished", done=True))) == [Stop("the run has finished"), AwaitNodes()]
    assert run.report().ended
    assert replay(run, Reported(0, Report("finished", ended=True))) == [End()]


def test_a_node_that_only_serves_is_not_waited_for() -> None:
    run = policy(trainer=1, inference=1)
    replay(run, Reported(1, DONE))
    assert run.state is State.RUNNING
    assert replay(run, Exited("trainer", 0)) == [Stop("the run has finished"), AwaitNodes()]


def test_a_node_that_only_serves_stays_until_node_0_says_so() -> None:
    run = policy(node=1, trainer=1, inference=1)
    assert run.report() == DONE
    assert replay(run, Reported(0, RUNNING)) == []
    assert replay(run, Reported(0, Report("finished"))) == [Stop("the run has finished")]


def test_the_same_report_twice_does_not_begin_the_drain_again() -> None:
    run = policy(trainer=3)
    assert replay(run, Reported(1, DONE)) == [Drain(600.0)]
    assert replay(run, Reported(1, DONE)) == []


# --- failing ----------------------------------------------------------------------------------------------------------


def test_a_rank_that_fails_is_told_with_its_node_and_its_number_among_all() -> None:
    run = policy(node=1)
    assert replay(run, RankExited("trainer", 1, 1)) == [Stop("trainer rank 3 on node 1: exit code 1")]
    assert run.report().culprit == FAILED_ON_1


def test_a_failure_elsewhere_ends_this_node_and_goes_on_to_the_others() -> None:
    run = policy(trainer=3)
    stop = Stop("trainer rank 3 on node 1: exit code 1")
    assert replay(run, Reported(1, Report("failed", culprit=FAILED_ON_1))) == [stop]
    assert (run.report().state, run.report().culprit) == ("failed", FAILED_ON_1)
    assert run.exit_code == 1


def test_what_node_0_hears_last_does_not_change_who_was_first() -> None:
    run = policy()
    replay(run, RankExited("trainer", 0, 7), Reported(1, Report("failed", culprit=FAILED_ON_1)))
    assert run.culprit == Culprit("trainer", "exit code 7", 0, 7)


KILLED_ON_1 = Culprit("trainer", "SIGKILL", 3, -9, node=1)


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_rank_that_was_killed_is_the_culprit_though_its_peer_is_heard_of_first(restarts: int) -> None:
    run = policy()
    run.restarts = restarts
    state = "restarting" if restarts else "failed"
    replay(run, RankExited("trainer", 0, 1), Reported(1, Report(state, culprit=KILLED_ON_1)))
    assert run.culprit == KILLED_ON_1
    assert run.report().culprit == KILLED_ON_1


@pytest.mark.parametrize(
    ("here", "there"),
    [(1, replace(KILLED_ON_1, what="SIGABRT", exit_code=-6)), (-9, KILLED_ON_1), (1, replace(KILLED_ON_1, node=2))],
    ids=["which NCCL does to itself", "both were killed", "as another node says"],
)
def test_who_is_heard_of_first_stays_the_culprit(here: int, there: Culprit) -> None:
    run = policy()
    replay(run, RankExited("trainer", 0, here), Reported(1, Report("failed", culprit=there)))
    assert run.culprit == Culprit("trainer", exit_text(here), 0, here)


def test_a_node_that_is_lost_is_the_culprit_by_its_name() -> None:
    run = policy()
    assert replay(run, Lost(1, "its launch is gone"))[0] == Stop("node 1: its launch is gone")
    assert run.culprit == Culprit("node 1", "its launch is gone", node=1)
    assert replay(run, Exited("trainer", -15)) == [End()]


def test_a_node_that_has_ended_may_go() -> None:
    run = policy()
    replay(run, Reported(1, Report("failed", culprit=FAILED_ON_1, ended=True)), Exited("trainer", -15))
    assert replay(run, Lost(1, "its launch is gone")) == []


def test_the_words_of_a_failure_are_kept_by_who_has_told_them() -> None:
    run, failure = policy(), Failure("trainer", 3, "exit code 1", "boom", None, (), 1, "gpu02")
    replay(run, Reported(1, Report("failed", culprit=FAILED_ON_1, ended=True, failure=failure)))
    assert run.told == {1: failure}


# --- being stopped ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_one_node_is_the_exit_code_of_all(number: signal.Signals) -> None:
    here, there = policy(), policy(node=1)
    replay(here, Signalled(number))
    assert replay(there, Reported(0, here.report())) == [Stop(f"node 0 was stopped by {number.name}")]
    assert here.exit_code == there.exit_code == 128 + number


def test_who_has_stopped_the_run_is_known_on_every_node_and_where_that_was() -> None:
    first, middle, last = policy(node=1), policy(), policy(node=2)
    replay(first, Signalled(signal.SIGTERM, Sender(0, 4711, 1001, b"launch\0stop\0")))
    replay(middle, Reported(1, first.report()))
    replay(last, Reported(0, middle.report()))
    assert last.stopped_by == middle.stopped_by == "stopped by pid 4711 (`launch stop`, uid 1001) on node 1"


def test_a_second_ctrl_c_kills_on_all_nodes_and_once() -> None:
    here, there = policy(), policy(node=1)
    replay(here, Signalled(signal.SIGINT))
    replay(there, Reported(0, here.report()))
    assert replay(here, Signalled(signal.SIGINT)) == [Kill()]
    assert replay(there, Reported(0, here.report())) == [Kill()]
    assert replay(there, Reported(0, here.report())) == []


def test_the_end_of_the_grace_on_one_node_is_not_that_of_the_others() -> None:
    run = policy()
    replay(run, Signalled(signal.SIGTERM), GraceOver())
    assert not run.report().kill


def test_nodes_that_never_end_are_not_waited_for_without_end() -> None:
    run = policy()
    assert replay(run, Signalled(signal.SIGINT), Exited("trainer", 1))[-1] == AwaitNodes()
    assert replay(run, NodesOverdue()) == [End()]
    assert run.report().ended


# --- another attempt --------------------------------------------------------------------------------------------------

KILLED = Setback("signal", "trainer rank 3", "SIGKILL", ("trainer", "signal"), step=7)
AGAIN = judge((), KILLED, 0.0)
FAILURE = Failure("trainer", 3, "SIGKILL", "", None, (), 1, "gpu02")
RESTARTING = Report("restarting", culprit=FAILED_ON_1)


def restartable(node: int = 0, restarts: int = 2, trainer: int = 2) -> NodePolicy:
    found = policy(node, trainer)
    found.restarts = restarts
    return found


def next_attempt(run: NodePolicy) -> NewAttempt:
    """What the supervisor posts after StartAttempt."""
    nodes, attempt = run.next_nodes or run.plan.nodes, run.plan.run.of(run.plan.run.attempt + 1)
    return NewAttempt(replace(run.plan, run=attempt, nodes=nodes))


def test_node_0_decides_when_nothing_of_the_attempt_is_alive_on_any_node() -> None:
    run = restartable(trainer=3)
    assert replay(run, Reported(1, RESTARTING)) == [StopAttempt("trainer rank 3 on node 1: exit code 1")]
    assert run.report() == RESTARTING
    assert replay(run, Exited("trainer", -15)) == [AwaitNodes()]
    assert replay(run, Reported(1, replace(RESTARTING, over=True, failure=FAILURE))) == []
    assert replay(run, Reported(2, replace(RESTARTING, over=True))) == [Explain()]
    assert run.told == {1: FAILURE}
    assert replay(run, Explained(KILLED, FAILURE)) == [Decided(AGAIN), StartAttempt()]
    assert (run.report().state, run.report().verdict, run.report().failure) == ("restarting", AGAIN, FAILURE)
    assert replay(run, next_attempt(run)) == [Start("trainer")]
    assert run.report() == Report("running", attempt=2)
    assert run.told == {}


def test_another_node_begins_the_next_attempt_when_node_0_has() -> None:
    run = restartable(node=1)
    assert replay(run, RankExited("trainer", 1, -9)) == [StopAttempt("trainer rank 3 on node 1: SIGKILL")]
    assert replay(run, Exited("trainer", 1)) == [Explain()]
    assert not run.report().over
    assert replay(run, Explained(KILLED, FAILURE)) == []
    assert (run.report().over, run.report().failure, run.report().verdict) == (True, FAILURE, None)
    told = Report("restarting", culprit=run.report().culprit, over=True, verdict=AGAIN)
    assert replay(run, Reported(0, told), PauseOver()) == [Decided(AGAIN)]
    assert replay(run, Reported(0, Report("running", attempt=2))) == [StartAttempt()]
    assert replay(run, Reported(0, Report("running", attempt=2, done=True))) == []
    assert replay(run, next_attempt(run)) == [Start("trainer")]


def test_an_attempt_that_fails_on_node_0_before_it_begins_here_fails_here_too() -> None:
    run = restartable(node=1)
    culprit = Culprit("trainer", "exit code 1", 0, 1, node=0)
    replay(run, Reported(0, RESTARTING), Exited("trainer", -15), Explained(KILLED))
    again = Report("restarting", culprit=culprit, attempt=2)
    assert replay(run, Reported(0, Report("running", attempt=2)), Reported(0, again)) == [StartAttempt()]
    assert replay(run, next_attempt(run)) == [StopAttempt("trainer rank 0 on node 0: exit code 1"), Explain()]


def test_what_a_node_says_of_the_attempt_before_does_nothing_to_this_one() -> None:
    run = restartable()
    over = replace(RESTARTING, over=True, failure=FAILURE)
    replay(run, Reported(1, over), Exited("trainer", -15), Explained(KILLED), next_attempt(run))
    assert replay(run, Started("trainer", 7), Reported(1, replace(over, done=True))) == []
    assert (run.state, run.told) == (State.RUNNING, {})
    assert replay(run, Reported(1, Report("running", attempt=2, done=True))) == [Drain(600.0)]


def test_a_node_that_does_not_end_its_attempt_in_time_ends_the_run() -> None:
    run = restartable()
    assert replay(run, RankExited("trainer", 0, -9), Exited("trainer", 1))[-1] == AwaitNodes()
    late = "node 1 did not end the attempt in time"
    why = f"trainer rank 0 on node 0: SIGKILL; {late}"
    assert replay(run, NodesOverdue()) == [Decided(Verdict("lost node", False, why)), Stop(late), AwaitNodes()]
    assert run.report().state == "failed"
    assert replay(run, NodesOverdue()) == [End()]


@pytest.mark.parametrize("node", [0, 1])
def test_a_node_that_is_lost_in_an_attempt_or_between_two_ends_the_run(node: int) -> None:
    for before in (), (RankExited("trainer", 0, -9), Exited("trainer", 1)):
        run = restartable(node)
        replay(run, *before)
        assert Stop in [type(action) for action in replay(run, Lost(1 - node, "its launch is gone"))]
        assert run.state is State.FAILED


def test_a_verdict_against_another_attempt_is_that_of_all_nodes() -> None:
    here, there = restartable(), restartable(node=1)
    replay(there, Reported(0, RESTARTING), Exited("trainer", -15), Explained(KILLED))
    replay(here, Reported(1, replace(RESTARTING, over=True)), Exited("trainer", -15))
    full = Setback("full disk", "trainer rank 3", "OSError", ())
    decided = replay(here, Explained(full))
    assert [type(action) for action in decided] == [Decided, Stop, AwaitNodes]
    assert decided[0] in replay(there, Reported(0, here.report()))
    assert here.state is there.state is State.FAILED


def test_a_node_that_is_done_while_this_attempt_is_being_ended_does_not_finish_the_run() -> None:
    run = restartable()
    assert replay(run, RankExited("trainer", 0, 1)) == [StopAttempt("trainer rank 0 on node 0: exit code 1")]
    assert replay(run, Reported(1, DONE)) == [], "a drain would take the place of the grace"
    assert replay(run, GraceOver()) == [KillAttempt()]
    assert replay(run, Exited("trainer", 1)) == [AwaitNodes()]
    assert replay(run, Reported(1, DONE)) == []
    assert replay(run, Reported(1, Report("restarting", done=True, over=True))) == [Explain()]
    assert run.state is State.RESTARTING


def test_only_node_0_decides_whether_there_is_another_attempt() -> None:
    run = restartable(trainer=3)
    replay(run, RankExited("trainer", 0, 1))
    assert replay(run, Reported(1, replace(RESTARTING, over=True, verdict=AGAIN)), PauseOver()) == []
    assert run.verdict is None
    other = restartable(node=1)
    replay(other, RankExited("trainer", 0, 1))
    assert replay(other, Reported(0, replace(RESTARTING, verdict=AGAIN))) == [Decided(AGAIN)]


def test_a_node_that_is_lost_in_the_pause_is_why_there_is_no_restart_on_all_nodes() -> None:
    here, there = restartable(trainer=3), restartable(node=1, trainer=3)
    here.backoff = 300.0
    over = replace(RESTARTING, over=True)
    replay(there, Reported(0, RESTARTING), Exited("trainer", -15), Explained(KILLED))
    replay(here, Reported(1, over), Reported(2, over), Exited("trainer", -15), Explained(KILLED))
    replay(there, Reported(0, here.report()))
    assert there.verdict is not None and there.verdict.again
    never = Verdict("signal", False, "signal: trainer rank 3: SIGKILL; node 2: its launch is gone")
    assert replay(here, Lost(2, "its launch is gone"))[0] == Decided(never)
    assert replay(there, Reported(0, here.report()))[0] == Decided(never)
    assert not here.is_used_up and not there.is_used_up


def test_a_failure_of_another_node_in_the_pause_is_why_there_is_no_restart() -> None:
    run = restartable(trainer=1)
    run.backoff = 300.0
    replay(run, RankExited("trainer", 0, -9), Exited("trainer", 1))
    replay(run, Reported(1, Report("restarting", over=True)), Explained(KILLED))
    server = Culprit("inference", "exit code 1", exit_code=1, node=1)
    decided, *_ = replay(run, Reported(1, Report("failed", culprit=server)))
    assert isinstance(decided, Decided)
    assert decided.verdict.text.startswith("no restart: ")
    assert decided.verdict.why.endswith("; inference on node 1: exit code 1")


def test_the_last_failure_on_another_node_is_told_as_the_last_here_too() -> None:
    run = policy()
    replay(run, Reported(1, Report("failed", culprit=FAILED_ON_1)))
    assert run.is_used_up
    other = policy()
    replay(other, Reported(1, Report("failed", culprit=Culprit("node 1", "failed", node=1))))
    assert not other.is_used_up


def test_a_server_that_is_started_again_on_its_node_does_not_end_the_servers_of_others() -> None:
    run = policy(node=2, trainer=1, inference=2)
    run.restarts = 1
    server = Culprit("inference", "exit code 1; it had closed its connections", exit_code=1, node=1)
    actions = replay(run, Reported(0, Report("restarting", culprit=server)))
    assert actions == [StopAttempt(server.text), Explain()]
    assert run.state is State.RESTARTING


# --- all of them together ---------------------------------------------------------------------------------------------


class Together:
    """Nodes that hear each other's reports, each link in order and all of them in any."""

    def __init__(self, count: int, draws: random.Random) -> None:
        self.draws = draws
        self.nodes = [policy(node, trainer=count - 1, inference=1) for node in range(count)]
        self.ended: set[int] = set()
        self.links = {(a, b): deque[Report]() for a in range(count) for b in self._peers(a)}
        self.told: dict[int, Report] = {}
        self.soon: list[tuple[int, Event]] = []

    def _peers(self, node: int) -> tuple[int, ...]:
        nodes = self.nodes[node].plan.nodes
        assert nodes is not None
        return nodes.peers

    def happen(self, node: int, event: Event) -> None:
        if node in self.ended:
            return
        actions = self.nodes[node].on(event)
        report = self.nodes[node].report()
        if self.told.get(node) != report:
            self.told[node] = report
            for peer in self._peers(node):
                self.links[node, peer].append(report)
        if End() in actions:
            self.ended.add(node)
        for action in actions:
            match action:
                case Explain():
                    self.soon.append((node, Explained(KILLED)))
                case StartAttempt():
                    self.soon.append((node, next_attempt(self.nodes[node])))
                case Start(component):
                    self.soon.append((node, Started(component, 100)))

    def happen_soon(self) -> bool:
        """What the supervisor of a node posts of itself."""
        waiting = sorted({node for node, _ in self.soon})
        if waiting:
            node = self.draws.choice(waiting)
            first = next(each for each in self.soon if each[0] == node)
            self.soon.remove(first)
            self.happen(*first)
        return bool(waiting)

    def deliver(self) -> bool:
        """One report, of any link that has one."""
        waiting = [link for link, reports in self.links.items() if reports]
        if waiting:
            sender, receiver = self.draws.choice(waiting)
            self.happen(receiver, Reported(sender, self.links[sender, receiver].popleft()))
        return bool(waiting)

    def end_what_was_stopped(self) -> bool:
        for node, run in enumerate(self.nodes):
            ending = run._finishing() if run.state is State.RESTARTING else run._alive
            if run.state is not State.RUNNING and ending:
                self.happen(node, Exited(next(iter(ending)), -signal.SIGTERM))
                return True
        return False


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_in_whatever_order_all_nodes_end_alike(seed: int) -> None:
    draws = random.Random(seed)
    together = Together(4, draws)
    accident = draws.choice(
        [None, RankExited("trainer", 0, 1), Signalled(signal.SIGINT), Signalled(signal.SIGTERM), Exited("trainer", 3)]
    )
    events: list[tuple[int, Event]] = [(node, Exited("trainer", 0)) for node in range(3)]
    if accident:
        node = draws.randrange(3)
        events[node] = (node, accident)  # in place of its end: without it the run cannot finish
    draws.shuffle(events)
    while events or together.deliver() or together.end_what_was_stopped():
        if events and draws.random() < 0.3:
            together.happen(*events.pop())
        together.deliver()
    assert together.ended == {0, 1, 2, 3}
    stopped = isinstance(accident, Signalled)
    expected = State.STOPPED if stopped else State.FAILED if accident else State.FINISHED
    assert {run.state for run in together.nodes} == {expected}
    assert len({run.exit_code for run in together.nodes}) == 1


@pytest.mark.parametrize("seed", range(200))
def test_in_whatever_order_all_nodes_begin_each_attempt_together_and_end_alike(seed: int) -> None:
    draws = random.Random(seed)
    together = Together(4, draws)
    for run in together.nodes:
        run.restarts = 2
    accidents = draws.sample(range(3), draws.randint(1, 3))  # the nodes that fail in each attempt, some at once
    interrupted = draws.random() < 0.3
    for _ in range(1000):
        draws.choice((together.happen_soon, together.deliver, together.end_what_was_stopped))()
        for node in accidents:
            run = together.nodes[node]
            if run.plan.run.attempt < 3 and run.state is State.RUNNING and "trainer" in run._alive:
                together.happen(node, RankExited("trainer", 0, -signal.SIGKILL))
        if interrupted and together.nodes[0].plan.run.attempt == 2:
            together.happen(draws.randrange(3), Signalled(signal.SIGINT))
            interrupted = False
        if all(run.plan.run.attempt == 3 and run.state is State.RUNNING and run._alive for run in together.nodes):
            break
    running = [node for node, run in enumerate(together.nodes) if run.state is State.RUNNING and node < 3]
    events = [(node, Exited("trainer", 0)) for node in running]
    while events or together.deliver() or together.happen_soon() or together.end_what_was_stopped():
        if events:
            together.happen(*events.pop())
    assert together.ended == {0, 1, 2, 3}
    assert len({run.state for run in together.nodes}) == len({run.exit_code for run in together.nodes}) == 1
    if together.nodes[0].state is State.FINISHED:
        assert {run.plan.run.attempt for run in together.nodes} == {3}
    else:
        assert together.nodes[0].state is State.STOPPED
