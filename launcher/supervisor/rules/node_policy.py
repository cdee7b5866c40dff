"""The rules of a run on several nodes. Each node has its own policy.

The nodes report their state to each other, and what ends the run on one node ends it on all. Node 0 hears every other
node, and each of them hears node 0. So node 0 is the first to know that the run has finished, and the last to end.

When an attempt has failed, all nodes end it and say so. Then node 0 decides whether there is another one. The others
begin theirs when node 0 reports that it runs the next attempt.
"""

import signal
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from launcher.failure.failure import Culprit, Failure
from launcher.failure.verdict import Setback, judge
from launcher.nodes.messages import Lost, Report, Reported
from launcher.plan.nodes import Nodes
from launcher.plan.spec import Plan
from launcher.supervisor.rules.actions import Action, AwaitNodes, Decided, Kill, KillOne, StartAttempt
from launcher.supervisor.rules.events import Event, Explained, Moving, NewAttempt, NodesOverdue, PauseOver, Signalled
from launcher.supervisor.rules.lifecycle import State
from launcher.supervisor.rules.losses import Losses
from launcher.supervisor.rules.policy import Policy


@dataclass
class NodePolicy(Policy):
    """The policy of one node. `plan.nodes` must say which."""

    _is_killing: bool = False  # some node kills without waiting for the grace
    _nodes: set[int] = field(default_factory=set)  # nodes linked to this one that have not ended
    _busy_nodes: set[int] = field(default_factory=set)  # the ones of them that have yet to finish
    _quiet: dict[str, float] = field(default_factory=dict)  # on this node: component ("" for the run) -> seconds
    _quiet_nodes: dict[int, dict[str, float]] = field(default_factory=dict)  # the same on the other nodes
    _is_alone: bool = False  # no process is alive here, and we wait for other nodes
    _newest: dict[int, Report] = field(default_factory=dict)  # the last report of each node
    _is_explained: bool = False  # nothing of the attempt that has failed is alive here
    _failure: Failure | None = None  # how it failed, if the culprit was on this node
    _awaits_nodes: bool = False  # on node 0: the same is not yet true of all nodes
    _has_begun: bool = False  # the next attempt is being started
    next_nodes: Nodes | None = None  # what it runs on, if not on the same as this one
    _losses: Losses = field(default_factory=Losses)

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.plan.nodes is not None
        self._here = self.plan.nodes.rank
        self._nodes |= set(self.plan.nodes.peers)
        if self._here == 0:
            self._losses.spares |= set(range(self.plan.nodes.count, self.plan.nodes.launches))
        self._busy_nodes |= {node for node in self._nodes if self.plan.nodes.finishes(node)}

    def _decide(self, event: Event) -> list[Action]:
        actions = self._decide_here(event)
        return self._begin_next(actions) if StartAttempt() in actions and self._here == 0 else actions

    def _decide_here(self, event: Event) -> list[Action]:
        match event:
            case Moving(component):
                self._quiet.pop(component, None)
                return []
            case Reported(node, report):
                return self._on_report(node, report)
            case Lost(node, why):
                return self._on_loss(node, why)
            case NodesOverdue() if self.state is State.RESTARTING:
                late = " and ".join(f"node {node}" for node in sorted(self._not_over()))
                return self._give_up(f"{late} did not end the attempt in time")
            case NodesOverdue():
                self._nodes.clear()
                return self._when_empty()
            case PauseOver() if self._here:
                return []  # node 0's counts
            case NewAttempt():
                early, self._losses.lost = self._losses.lost, {}
                actions = [*super()._decide(event), *self._follow_what_came_early()]
                return [*actions, *(each for node, why in early.items() for each in self._on_loss(node, why))]
        return super()._decide(event)

    @property
    def _all(self) -> Nodes:
        """The nodes that this attempt runs on."""
        assert self.plan.nodes is not None
        return self.plan.nodes

    def report(self) -> Report:
        """This node's state, for the others."""
        is_last_to_end = self._here != 0 or not self._nodes
        return Report(
            state=self.state.value,
            signal=self.ended_by,
            stopped_by=self.stopped_by,
            culprit=self._named(self.culprit) if self.culprit else None,
            done=not (self._starting or super()._unfinished()),
            kill=self._is_killing,
            ended=self._has_ended() and is_last_to_end,
            quiet=tuple(sorted(self._quiet.items())),
            attempt=self.plan.run.attempt,
            places=() if self._here else self._all.held,
            lost=() if self._here else tuple(sorted(self._losses.gone)),
            over=self._is_explained and self.state is State.RESTARTING,
            verdict=None if self._here else self.verdict,
            failure=self._failure if self.state is State.RESTARTING else None,
        )

    # --- events of other nodes ---

    def _on_report(self, node: int, report: Report) -> list[Action]:
        is_old = report.attempt < self.plan.run.attempt and report.state in ("running", "restarting")
        if report.failure and not is_old:
            self.told[node] = report.failure
        if report.ended:
            self._nodes.discard(node)
        self._newest[node] = report
        self._quiet_nodes[node] = {} if is_old else dict(report.quiet)
        actions = self._follow(node, report) or self._when_all_are_quiet()
        if node == 0 and report.attempt == self.plan.run.attempt:
            actions = [*actions, *self._kill_ranks_without(report.lost)]
        if report.kill and not self._is_killing:
            self._is_killing = True
            actions.append(self._kill())
        return [*actions, *self._when_empty()]

    def _follow(self, node: int, report: Report) -> list[Action]:
        """The run or the attempt has ended there: end it here for the same reason."""
        if self._is_ending():
            return []
        if report.state == "failed":
            return self._fail_with(node, report)
        if report.state == "stopped":
            self.ended_by = signal.Signals(report.signal) if report.signal else None
            by = self.ended_by.name if self.ended_by else "somebody"
            self.stopped_by = _on_node(node, report.stopped_by)
            return self._stop(State.STOPPED, self.stopped_by or f"node {node} was stopped by {by}")
        if report.state == "finished" and node == 0:
            return self._stop(State.FINISHED, "the run has finished")
        if report.attempt != self.plan.run.attempt:
            return self._begin_like(node, report)
        if report.state == "restarting":
            return self._restart_with(node, report)
        is_live = self.state is State.RUNNING and not self._held  # else a failure ends this attempt
        if is_live and report.done and node in self._busy_nodes and self._here == 0:
            self._busy_nodes.discard(node)
            return self._when_one_has_finished()
        return []

    def _fail_with(self, node: int, report: Report) -> list[Action]:
        """The culprit of an attempt that has failed stays the culprit: its words may be here."""
        theirs = report.culprit or Culprit(f"node {node}", "failed", node=node)
        is_first = self.state is State.RUNNING
        self.is_used_up = is_first and not self.restarts and self._has_to_finish(theirs.component)
        decided = self._hear_verdict(node, report) or self._overrule(theirs.text)
        self.culprit = self.culprit or theirs
        return [*decided, *self._stop(State.FAILED, self._named(self.culprit).text)]

    def _restart_with(self, node: int, report: Report) -> list[Action]:
        if self.state is State.RUNNING:
            culprit = report.culprit or Culprit(f"node {node}", "failed", node=node)
            if not self.restarts:
                return self._fail(culprit)
            self.culprit = culprit  # even a server: there it is started again
            return self._restart(culprit.text)
        return [*self._hear_verdict(node, report), *(self._when_attempt_is_over() if self._awaits_nodes else ())]

    def _hear_verdict(self, node: int, report: Report) -> list[Action]:
        """Only node 0 decides."""
        if node or report.verdict is None or report.verdict == self.verdict:
            return []
        self.verdict = report.verdict
        return [Decided(report.verdict)]

    def _begin_like(self, node: int, report: Report) -> list[Action]:
        """Node 0 has begun the next attempt."""
        is_next = node == 0 and report.attempt > self.plan.run.attempt
        if not (is_next and self._is_explained and self.state is State.RESTARTING) or self._has_begun:
            return []
        if report.places and not (self._all.can_be_in(report.places) and self._here in report.places):
            return self._give_up(f"node {node}: its launch has named places that cannot be")
        self._has_begun = True
        self.next_nodes = self._all.with_places(report.places) if report.places else None
        return [StartAttempt()]

    def _follow_what_came_early(self) -> list[Action]:
        """Reports on this attempt that came before it began here."""
        return [action for node, report in self._newest.items() for action in self._follow(node, report)]

    def _on_loss(self, node: int, why: str) -> list[Action]:
        is_needed = node in self._nodes
        actions = self._end_without(node, why)
        return [*actions, *(self._kill_ranks_without([node]) if is_needed else ())]

    def _kill_ranks_without(self, lost: Collection[int]) -> list[Action]:
        """Kill the ranks here if a node of the trainer is lost: they wait for it in a collective, and cannot save."""
        new = {node for node in lost if self._all.runs("trainer", node)} - self._losses.gone
        if not new or self.state not in (State.RESTARTING, State.FAILED) or self._has_begun:
            return []
        self._losses.gone |= new
        running = self._alive | self._starting
        return [KillOne(spec.name) for spec in self.plan.processes if spec.ranks and spec.name in running]

    def _end_without(self, node: int, why: str) -> list[Action]:
        self._losses.spares.discard(node)
        if node not in self._nodes:
            return []
        if self._has_begun and self._here == 0 and self.state is State.RESTARTING:
            self._losses.lost[node] = why  # the next attempt has its plan already: handled when it begins
            return []
        for known in self._nodes, self._busy_nodes:
            known.discard(node)
        for known_of in self._newest, self._quiet_nodes:
            known_of.pop(node, None)
        if self._is_ending():
            return self._when_empty()
        if self._here == 0 and self._losses.instead(self._all, also=[node]):
            if self.restarts or self.state is State.RESTARTING:
                return self._continue_without(node, why)
            self.is_used_up = True
        if self.state is State.RESTARTING:
            return self._give_up(f"node {node}: {why}")
        self.culprit = Culprit(f"node {node}", why, node=node)
        asked = [self._no_place_for(node, why)] if self.plan.max_restarts and not self.is_used_up else []
        return [*asked, *self._stop(State.FAILED, self.culprit.text)]

    def _continue_without(self, node: int, why: str) -> list[Action]:
        """The next attempt has a spare in the node's place, or one place fewer."""
        self._losses.lost[node] = why
        lost = Culprit(f"node {node}", why, node=node)
        if self.verdict is None:  # what failed elsewhere in this moment has failed because of it
            self.culprit = lost
        return self._restart(lost.text) if self.state is State.RUNNING else self._when_attempt_is_over()

    def _begin_next(self, actions: list[Action]) -> list[Action]:
        """On node 0: settle what the next attempt runs on. A spare may have left since."""
        nodes = self._losses.instead(self._all)
        if nodes is None:
            node, why = next(iter(self._losses.lost.items()))
            kept = [action for action in actions if action != StartAttempt()]
            return [*kept, *self._give_up(f"node {node}: {why}; no spare is there any more")]
        self.next_nodes, self._has_begun = nodes, True
        self._nodes |= self._losses.settle(nodes)
        return actions

    def _no_place_for(self, node: int, why: str) -> Decided:
        self.verdict = judge((), Setback("lost node", f"node {node}", why, ()), self.backoff)
        return Decided(self.verdict)

    # --- overrides ---

    def _on_new_attempt(self, plan: Plan) -> None:
        super()._on_new_attempt(plan)
        assert plan.nodes is not None
        self._busy_nodes = {node for node in self._nodes if plan.nodes.finishes(node)}
        self.next_nodes = None
        self._quiet.clear()
        self._quiet_nodes.clear()
        self._losses.gone.clear()
        self.told.clear()
        self._failure = None
        self._is_explained = self._awaits_nodes = self._has_begun = False

    def _on_explained(self, event: Explained) -> list[Action]:
        """On node 0 the verdict. The others only report how it was."""
        self._is_explained = True
        self._failure = event.failure
        if self._here == 0:
            found = replace(event.setback, instead=self._losses.text(self._all))
            return super()._on_explained(replace(event, setback=found))
        if event.failure and event.failure.node != self._here:
            self._failure = None  # node 0 knows more
        return []

    def _when_attempt_is_over(self) -> list[Action]:
        """Node 0 waits until nothing of the attempt is alive on any node."""
        if self._here or self._starting or self._finishing() or not self._not_over():
            return super()._when_attempt_is_over()
        if self._awaits_nodes:
            return []
        self._awaits_nodes = True
        return [AwaitNodes()]

    def _not_over(self) -> set[int]:
        """The nodes that have not ended the attempt that has failed."""
        return {node for node in self._nodes if not self._is_over_on(node)}

    def _is_over_on(self, node: int) -> bool:
        report = self._newest.get(node)
        return report is not None and report.over and report.attempt == self.plan.run.attempt

    def _on_quiet(self, component: str, seconds: float) -> list[Action]:
        self._quiet[component] = seconds
        return self._when_all_are_quiet()

    def _when_all_are_quiet(self) -> list[Action]:
        """A component is quiet only if it is quiet on all its nodes: often it logs on one alone. Node 0 hears all."""
        if self._here != 0 or self.state is not State.RUNNING:
            return []
        everywhere = {**self._quiet_nodes, self._here: self._quiet}
        for component, seconds in {name: its for quiet in everywhere.values() for name, its in quiet.items()}.items():
            if all(component in everywhere.get(node, {}) for node in self._nodes_of(component)):
                return super()._on_quiet(component, seconds)
        return []

    def _nodes_of(self, component: str) -> list[int]:
        """The nodes that have not ended and run the component; without a component, all that have not ended."""
        nodes, here = self.plan.nodes, self._here
        assert nodes is not None
        return [node for node in sorted({here} | self._nodes) if not component or nodes.runs(component, node)]

    def _unfinished(self) -> set[str]:
        return super()._unfinished() | {f"node {node}" for node in self._busy_nodes}

    def _on_signal(self, event: Signalled) -> list[Action]:
        actions = super()._on_signal(event)
        self._is_killing = self._is_killing or Kill() in actions
        return actions

    def _when_empty(self) -> list[Action]:
        if not self._nodes or not self._has_ended():
            return super()._when_empty()
        if self._is_alone:
            return []
        self._is_alone = True
        return [AwaitNodes()]

    def _named(self, culprit: Culprit) -> Culprit:
        """A culprit of this node, with the node's rank for the others."""
        if culprit.node is not None:
            return culprit
        spec = self.plan.process(culprit.component)
        first = spec.ranks.first if spec and spec.ranks else 0
        return replace(culprit, node=self._here, rank=None if culprit.rank is None else first + culprit.rank)


def _on_node(node: int, stopped_by: str | None) -> str | None:
    """Who stopped the run, with the node: node 0 also passes on reports of other nodes."""
    if stopped_by is None or " on node " in stopped_by:
        return stopped_by
    return f"{stopped_by} on node {node}"
