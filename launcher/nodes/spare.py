"""A launch that waits to take the place of a lost node.

It hears node 0's reports as the other nodes do, and sends nothing. When its node rank is among the places of an
attempt, it takes part in this attempt and in those after it.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from launcher.nodes.meeting import Meeting, Say
from launcher.nodes.messages import REPORT, Report
from launcher.nodes.seal import Forged
from launcher.plan.nodes import Nodes

GONE = "node 0: its launch is gone, so the run has failed on all nodes"


@dataclass(frozen=True)
class Called:
    """A node was lost: take its place in this attempt."""

    nodes: Nodes
    attempt: int


def wait_to_be_called(meeting: Meeting, say: Say) -> Called | int:
    """Wait until node 0 needs this node, or the run ends: then return its exit code."""
    nodes, report = meeting.nodes, Report("running", attempt=meeting.welcome.attempt)
    say(f"{waits_text(meeting)}; Ctrl-C leaves the run")
    try:
        while not report.ended:
            before, report = report, _heard(meeting, nodes)
            if nodes.rank in report.places:
                lost = next(
                    node for node, there in zip(nodes.places, report.places, strict=False) if there == nodes.rank
                )
                say(f"node {nodes.rank} takes the place of node {lost}")
                return Called(nodes.with_places(report.places), report.attempt)
            nodes = nodes.with_places(report.places) if report.places else nodes
            if report.state != before.state or report.attempt != before.attempt:
                say(_told(report))
    except (OSError, ValidationError, Forged):
        if report.state in ("running", "restarting"):
            say(GONE)
            return 1
    return _exit_code(report)


def waits_text(meeting: Meeting) -> str:
    return f"node {meeting.nodes.rank} is a spare: it waits until a node of {meeting.welcome.name} is lost"


def _heard(meeting: Meeting, nodes: Nodes) -> Report:
    """Node 0's next report. Raises OSError, ValidationError, and Forged for places that cannot be."""
    report = REPORT.validate_json(meeting.hear_node_0())
    if report.places and not nodes.can_be_in(report.places):
        raise Forged
    return report


def _told(report: Report) -> str:
    why = f": {report.culprit.text}" if report.culprit else ""
    return f"the run is {report.state}{why}" + (f", attempt {report.attempt}" if report.state == "running" else "")


def _exit_code(report: Report) -> int:
    if report.signal is not None:
        return 128 + report.signal
    return 0 if report.state == "finished" else 1
