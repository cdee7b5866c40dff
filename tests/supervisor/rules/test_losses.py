"""Runs that outlive the loss of a node, as histories: a spare takes its place, or the trainer has fewer nodes."""

import random
import signal
from collections import deque
from dataclasses import replace

import pytest

from launcher.failure.failure import Culprit, Failure
from launcher.failure.verdict import setback
from launcher.nodes.messages import Lost, Report, Reported
from launcher.plan.nodes import Nodes
from launcher.supervisor.rules.actions import Decided, Explain, KillOne, Start, StartAttempt, Stop, StopAttempt
from launcher.supervisor.rules.events import Exited, Explained, PauseOver, RankExited, Signalled, Started
from launcher.supervisor.rules.lifecycle import State
from launcher.supervisor.rules.losses import Losses
from launcher.supervisor.rules.node_policy import NodePolicy
from tests.supervisor.rules.test_node_policy import KILLED, Together, next_attempt, policy, replay

GONE = "its launch is gone"
LOST = setback(Failure("node 1", None, GONE, "", None, (), 1), 7, 60.0)
RESTARTING = Report("restarting", culprit=Culprit("node 1", GONE, node=1))


def outliving(node: int = 0, trainer: int = 2, inference: int = 0, spares: int = 1, fewest: int = 0) -> NodePolicy:
    """A node of a run with spares and two restarts."""
    found = policy(node, trainer, inference)
    assert found.plan.nodes is not None
    nodes = replace(found.plan.nodes, spares=spares, fewest=fewest)
    again = NodePolicy(replace(found.plan, nodes=nodes, max_restarts=2), restarts=2)
    again.begin()
    again.on(Started(found.plan.processes[0].name, 100))
    return again


def why(actions: list[object]) -> str:
    return next(action.verdict.text for action in actions if isinstance(action, Decided))


def test_a_spare_takes_the_place_of_a_lost_node() -> None:
    run = outliving()
    assert replay(run, Lost(1, GONE)) == [StopAttempt(f"node 1: {GONE}"), KillOne("trainer")]
    assert replay(run, Exited("trainer", -15)) == [Explain()]
    actions = replay(run, Explained(LOST))
    assert why(actions) == f"restarts now: lost node: node 1: {GONE}; node 2 takes its place"
    assert actions[-1] == StartAttempt()
    assert run.report().places == ()
    assert replay(run, next_attempt(run)) == [Start("trainer")]
    assert (run.report().attempt, run.report().places) == (2, (0, 2))
    assert replay(run, Started("trainer", 7), Reported(2, Report("running", attempt=2, done=True))) != []


def test_a_lost_node_is_why_a_rank_elsewhere_has_lost_its_connection() -> None:
    run = outliving()
    assert replay(run, RankExited("trainer", 0, 1)) == [StopAttempt("trainer rank 0 on node 0: exit code 1")]
    assert replay(run, Lost(1, GONE)) == [KillOne("trainer")]
    assert run.culprit == Culprit("node 1", GONE, node=1)
    assert replay(run, Exited("trainer", 1)) == [Explain()]
    assert run.restarts == 1, "one loss is one restart"


def test_ranks_that_wait_for_a_lost_node_of_the_trainer_are_killed_at_once_on_every_node() -> None:
    first, other = outliving(trainer=3), outliving(node=2, trainer=3)
    assert KillOne("trainer") in replay(first, Lost(1, GONE))
    assert first.report().lost == (1,)
    assert replay(other, Reported(0, first.report())) == [StopAttempt(f"node 1: {GONE}"), KillOne("trainer")]
    assert replay(other, Reported(0, first.report())) == [], "once"
    assert other.report().lost == (), "node 0 alone says it"
    replay(first, Exited("trainer", -9), Explained(LOST), next_attempt(first))
    assert first.report().lost == ()


def test_they_are_killed_if_the_run_ends_with_the_node_too() -> None:
    run = outliving(spares=0)
    assert replay(run, Lost(1, GONE))[-2:] == [Stop(f"node 1: {GONE}"), KillOne("trainer")]
    other = outliving(node=1, spares=0)
    assert replay(other, Lost(0, GONE))[-2:] == [Stop(f"node 0: {GONE}"), KillOne("trainer")]


def test_a_trainer_that_has_lost_no_node_of_its_own_has_its_grace() -> None:
    run = outliving(trainer=1, inference=1)
    assert replay(run, Lost(1, GONE)) == [StopAttempt(f"node 1: {GONE}")]
    assert run.report().lost == ()


def test_a_run_that_is_being_stopped_keeps_its_grace_when_a_node_is_lost() -> None:
    run = outliving()
    replay(run, Signalled(signal.SIGINT))
    assert replay(run, Lost(1, GONE)) == []


def test_the_other_nodes_learn_the_places_from_node_0() -> None:
    run = outliving(node=2, trainer=3)
    replay(run, Reported(0, RESTARTING), Exited("trainer", -15), Explained(KILLED))
    assert replay(run, Reported(0, Report("running", attempt=2, places=(0, 3, 2)))) == [StartAttempt()]
    assert run.next_nodes is not None and run.next_nodes.places == (0, 3, 2)
    assert replay(run, next_attempt(run)) == [Start("trainer")]
    assert run.report().places == (), "node 0 alone says it"


@pytest.mark.parametrize("places", [(0, 1), (2, 0, 1), (0, 9, 2), (0, 2, 2), (0, 1, 2, 3)])
def test_places_that_cannot_be_begin_no_attempt(places: tuple[int, ...]) -> None:
    run = outliving(node=2, trainer=3)
    replay(run, Reported(0, RESTARTING), Exited("trainer", -15), Explained(KILLED))
    actions = replay(run, Reported(0, Report("running", attempt=2, places=places)))
    assert StartAttempt() not in actions and run.state is State.FAILED


def test_each_spare_is_taken_once_and_the_last_loss_ends_the_run() -> None:
    run = outliving()
    replay(run, Lost(1, GONE), Exited("trainer", -15), Explained(LOST))
    replay(run, next_attempt(run), Started("trainer", 7))
    actions = replay(run, Lost(2, GONE))
    assert why(actions) == f"no restart: lost node: node 2: {GONE}; no other node can take its place"
    assert Stop(f"node 2: {GONE}") in actions


def test_a_spare_that_leaves_is_not_missed_until_it_is_needed() -> None:
    run = outliving()
    assert replay(run, Lost(2, GONE)) == []
    assert run.state is State.RUNNING
    assert Stop(f"node 1: {GONE}") in replay(run, Lost(1, GONE))


def test_a_spare_that_leaves_before_the_next_attempt_ends_the_run() -> None:
    run = outliving()
    run.backoff = 60.0
    replay(run, Lost(1, GONE), Exited("trainer", -15), Lost(2, GONE))
    actions = replay(run, Explained(LOST))
    assert any(isinstance(action, Stop) for action in actions)
    assert StartAttempt() not in actions


def test_a_node_that_is_lost_in_the_pause_is_replaced_too() -> None:
    run = outliving(trainer=3)
    run.backoff = 60.0
    over = Report("restarting", over=True)
    replay(run, RankExited("trainer", 0, -9), Exited("trainer", 1), Reported(1, over), Reported(2, over))
    assert replay(run, Explained(KILLED), Lost(2, GONE))[1:] == []
    assert replay(run, PauseOver()) == [StartAttempt()]
    assert run.next_nodes is not None and run.next_nodes.places == (0, 1, 3)


def test_a_node_that_is_lost_while_the_next_attempt_is_planned_ends_that_attempt() -> None:
    run = outliving(trainer=3, spares=2)
    replay(run, Lost(1, GONE), Reported(2, Report("restarting", over=True)), Exited("trainer", -15), Explained(LOST))
    assert replay(run, Lost(3, GONE)) == [], "the spare that was taken"
    actions = replay(run, next_attempt(run))
    assert StopAttempt(f"node 3: {GONE}") in actions
    assert Explain() not in actions, "node 2 has not ended the attempt"


def test_without_a_restart_left_a_lost_node_ends_the_run_and_the_spare_is_not_taken() -> None:
    run = outliving()
    run.restarts = 0
    actions = replay(run, Lost(1, GONE))
    assert Stop(f"node 1: {GONE}") in actions and run.is_used_up


def test_node_0_has_no_substitute() -> None:
    run = outliving(node=1)
    assert Stop(f"node 0: {GONE}") in replay(run, Lost(0, GONE))


def test_the_run_continues_on_fewer_nodes_where_nobody_waits_but_on_no_fewer_than_was_said() -> None:
    run = outliving(trainer=3, spares=0, fewest=2)
    replay(run, Lost(1, GONE), Reported(2, Report("restarting", over=True)), Exited("trainer", -15))
    assert why(replay(run, Explained(LOST))).endswith("; the run continues on 2 nodes")
    replay(run, next_attempt(run), Started("trainer", 7))
    assert run.plan.nodes is not None
    assert (run.plan.nodes.places, run.plan.nodes.trainer) == ((0, 2), 2)
    assert Stop(f"node 2: {GONE}") in replay(run, Lost(2, GONE))


def test_a_spare_goes_before_a_smaller_run() -> None:
    nodes = Nodes(0, 3, 1, "gpu01", 29500, spares=1, fewest=1)
    both = Losses({4}, {1: GONE, 2: GONE})
    found = both.instead(nodes)
    assert found is not None and (found.places, found.trainer) == ((0, 4, 3), 2)
    assert both.text(nodes) == "node 4 takes its place; the run continues on 3 nodes"
    assert both.settle(found) == {4} and both == Losses()
    assert Losses().text(nodes) is None


def test_a_node_of_inference_needs_a_spare() -> None:
    nodes = Nodes(0, 2, 1, "gpu01", 29500, fewest=1)
    assert Losses().instead(nodes, also=[2]) is None
    found = Losses({3}).instead(nodes, also=[2])
    assert found is not None and found.servers == (3,) and found.runs("inference", 3) and not found.runs("inference", 2)


class Losing(Together):
    """Nodes whose launches die, and a spare that is called by node 0's reports."""

    def __init__(self, draws: random.Random, spares: int) -> None:
        self.dead = set[int]()
        super().__init__(4, draws)
        self.nodes = [outliving(node, 3, 1, spares) for node in range(4)]
        self.waiting = set(range(4, 4 + spares))

    def _peers(self, node: int) -> tuple[int, ...]:
        peers = super()._peers(node) if node < len(self.nodes) else (0,)
        return tuple(peer for peer in peers if peer < len(self.nodes) and peer not in self.dead)

    def kill(self, node: int) -> None:
        self.dead.add(node)
        self.ended.add(node)
        self.nodes[node]._alive.clear()
        self.soon = [each for each in self.soon if each[0] != node]
        for link in [link for link in self.links if node in link]:
            del self.links[link]
        self.soon.append((0, Lost(node, GONE)))

    def call(self) -> bool:
        """The first spare that node 0 needs."""
        report = self.told.get(0)
        called = next((node for node in sorted(self.waiting) if report and node in report.places), None)
        if called is None or report is None:
            return False
        self.waiting.discard(called)
        first = self.nodes[0].plan
        assert first.nodes is not None and called == len(self.nodes)
        nodes = replace(first.nodes, rank=called)
        name = "trainer" if nodes.runs("trainer") else "inference"
        like = next(run.plan for run in self.nodes if run.plan.processes[0].name == name)
        plan = replace(like, nodes=nodes, run=first.run.on(called))
        self.nodes.append(NodePolicy(plan, restarts=2))
        self.links |= {(0, called): deque([report]), (called, 0): deque()}
        for action in self.nodes[called].begin():
            assert isinstance(action, Start)
            self.soon.append((called, Started(action.component, 100)))
        return True


@pytest.mark.parametrize("seed", range(150))
def test_in_whatever_order_nodes_are_lost_the_others_and_the_spares_end_alike(seed: int) -> None:
    draws = random.Random(seed)
    together = Losing(draws, spares=2)
    losses = draws.sample([1, 2, 3], draws.randint(1, 3))
    for node in range(3):
        if draws.random() < 0.3:
            together.happen(node, RankExited("trainer", 0, 1))  # it has lost its connection
    for _ in range(3000):
        if losses and draws.random() < 0.02:
            together.kill(losses.pop())
        steps = (together.call, together.happen_soon, together.deliver, together.end_what_was_stopped)
        draws.choice(steps)()
    assert not losses
    living = [node for node in range(len(together.nodes)) if node not in together.dead]
    states = {together.nodes[node].state for node in living}
    attempts = {together.nodes[node].plan.run.attempt for node in living}
    assert len(states) == 1
    assert len(attempts) == 1 or states == {State.FAILED}, attempts
    if together.nodes[0].state is State.RUNNING:
        nodes = together.nodes[0].plan.nodes
        assert nodes is not None and set(nodes.places) == set(living)
        together.happen(living[-1], Signalled(signal.SIGINT))
        while together.deliver() or together.happen_soon() or together.end_what_was_stopped():
            pass
        assert {together.nodes[node].state for node in living} == {State.STOPPED}
    assert set(living) <= together.ended
