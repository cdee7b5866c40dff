"""The rules of a run on several nodes. Each node has its own policy.

The nodes report their state to each other, and what ends the run on one node ends it on all. Node 0 hears every other
node, and each of them hears node 0. So node 0 is the first to know that the run has finished, and the last to end.

When an attempt has failed, all nodes end it and say so. Then node 0 decides whether there is another one. The others
begin theirs when node 0 reports that it runs the next attempt.
"""

import signal
from dataclasses import dataclass, field, replace

from launcher.failure.failure import Culprit, Failure
from launcher.nodes.messages import Lost, Report, Reported
from launcher.plan.spec import Plan
from launcher.supervisor.rules.actions import Action, AwaitNodes, Decided, Kill, StartAttempt
from launcher.supervisor.rules.events import Event, Explained, Moving, NewAttempt, NodesOverdue, PauseOver, Signalled
from launcher.supervisor.rules.lifecycle import State
from launcher.supervisor.rules.losses import LossPolicy

_KILLED = (-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGBUS)  # no rank ends so because another one has ended


@dataclass
class NodePolicy(LossPolicy):
    """The policy of one node."""

    _is_killing: bool = False  # some node kills without waiting for the grace
    _quiet: dict[str, float] = field(default_factory=dict)  # on this node: component ("" for the run) -> seconds
    _is_alone: bool = False  # no process is alive here, and we wait for other nodes
    _is_explained: bool = False  # nothing of the attempt that has failed is alive here
    _failure: Failure | None = None  # how it failed, if the culprit was on this node
    _awaits_nodes: bool = False  # on node 0: the same is not yet true of all nodes

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
                late = " and ".join(f"node {node}" for node in self._not_over())
                return self._give_up(f"{late} did not end the attempt in time")
            case NodesOverdue():
                self._others.living.clear()
                return self._when_empty()
            case PauseOver() if self._here:
                return []  # node 0's counts
            case NewAttempt():
                early, self._losses.lost = self._losses.lost, {}
                actions = [*super()._decide(event), *self._follow_what_came_early()]
                return [*actions, *(each for node, why in early.items() for each in self._on_loss(node, why))]
        return super()._decide(event)

    def report(self) -> Report:
        """This node's state, for the others."""
        is_last_to_end = self._here != 0 or not self._others.living
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
        self._others.hear(node, report, is_old)
        self._reconsider_culprit(node, report)
        actions = self._follow(node, report) or self._when_all_are_quiet()
        if node == 0 and report.attempt == self.plan.run.attempt:
            actions = [*actions, *self._kill_ranks_without(report.lost)]
        if report.kill and not self._is_killing:
            self._is_killing = True
            actions.append(self._kill())
        return [*actions, *self._when_empty()]

    def _reconsider_culprit(self, node: int, report: Report) -> None:
        """On node 0: a rank that lost its connection may be heard of before its peer that was killed on a busy node."""
        ours, theirs = self.culprit, report.culprit
        if self._here or self._is_explained or report.attempt != self.plan.run.attempt or not (ours and theirs):
            return
        is_killed = theirs.rank is not None and theirs.exit_code in _KILLED
        has_exited = ours.component == theirs.component and (ours.exit_code or 0) > 0
        if self.state in (State.RESTARTING, State.FAILED) and theirs.node == node and is_killed and has_exited:
            self.culprit = theirs

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
        if is_live and report.done and node in self._others.busy and self._here == 0:
            self._others.busy.discard(node)
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
        return [action for node, report in self._others.newest.items() for action in self._follow(node, report)]

    # --- overrides ---

    def _on_new_attempt(self, plan: Plan) -> None:
        super()._on_new_attempt(plan)
        self._others.begin(self._all)
        self.next_nodes = None
        self._quiet.clear()
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

    def _not_over(self) -> list[int]:
        """The nodes that have not ended the attempt that has failed."""
        return self._others.not_over(self.plan.run.attempt)

    def _on_quiet(self, component: str, seconds: float) -> list[Action]:
        self._quiet[component] = seconds
        return self._when_all_are_quiet()

    def _when_all_are_quiet(self) -> list[Action]:
        """Node 0 hears all nodes."""
        if self._here != 0 or self.state is not State.RUNNING:
            return []
        found = self._others.quiet_everywhere(self._all, self._quiet)
        return super()._on_quiet(*found) if found else []

    def _unfinished(self) -> set[str]:
        return super()._unfinished() | {f"node {node}" for node in self._others.busy}

    def _on_signal(self, event: Signalled) -> list[Action]:
        actions = super()._on_signal(event)
        self._is_killing = self._is_killing or Kill() in actions
        return actions

    def _when_empty(self) -> list[Action]:
        if not self._others.living or not self._has_ended():
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
