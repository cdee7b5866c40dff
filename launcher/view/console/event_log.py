"""launcher.log: the supervisor's events and actions, line by line."""

from launcher.borders.screen import printable
from launcher.failure.failure import ending_text, exit_text
from launcher.logger import get_logger
from launcher.nodes.messages import Lost, Report, Reported
from launcher.plan.ready import not_ready_because, silent_because
from launcher.supervisor.rules.actions import (
    Action,
    Answer,
    Await,
    Decided,
    EndOne,
    Kill,
    KillOne,
    StartAgain,
    Stop,
    StopAttempt,
)
from launcher.supervisor.rules.events import (
    CannotContinue,
    Diagnosed,
    DrainTimedOut,
    Event,
    Exited,
    GraceOver,
    GuardDied,
    HungUp,
    Moving,
    NewAttempt,
    NodesOverdue,
    NotReady,
    NotStarted,
    OneOverdue,
    Quiet,
    RankExited,
    RanksGone,
    RankStarted,
    Ready,
    RestartAsked,
    Signalled,
    Silent,
    Stalled,
    Started,
    SuspectsOverdue,
    WatcherDied,
)


def log_event(happening: Event | Action) -> None:
    """A listener; where the lines go is the logger's business."""
    if described := describe(happening):
        level, text = described
        get_logger().log(level, "{}", text)


def describe(happening: Event | Action) -> tuple[str, str] | None:
    """(level, one sentence); None for events that are not shown."""
    described = _happened(happening) or _done(happening)
    return (described[0], printable(described[1])) if described else None


def _happened(event: Event | Action) -> tuple[str, str] | None:
    match event:
        case Started(name, pid):
            return "INFO", f"{name}: started, pid {pid}"
        case NotStarted(name, reason):
            return "ERROR", f"{name}: could not be started: {reason}"
        case Ready(name, after):
            return "INFO", f"{name}: ready after {after:.1f}s"
        case NotReady(name, check, timeout, answer):
            return "ERROR", f"{name}: not ready within {timeout:g}s: {not_ready_because(check, answer)}"
        case Silent(name, check, seconds, answer):
            return "ERROR", f"{name}: {silent_because(check, seconds, answer)}"
        case RankStarted(name, rank, pid):
            return "INFO", f"{name}: rank {rank} started, pid {pid}"
        case RankExited(name, rank, exit_code):
            return _ended(f"{name}: rank {rank}", exit_code, event.ended_by)
        case RanksGone(name):
            return "INFO", f"{name}: its ranks are gone, but torchrun is still there"
        case Exited(name, exit_code):
            return _ended(f"{name}:", exit_code, event.ended_by)
        case SuspectsOverdue():
            return "WARNING", "the servers that seemed to be dying have not ended"
        case Signalled():
            return "INFO", event.text
        case RestartAsked(name, _, by):
            return "INFO", f"{name}: restart asked for by {by}"
        case HungUp():
            return "INFO", "the terminal has gone away; the run continues without it"
        case GuardDied():
            return "ERROR", "the guard process was killed"
        case WatcherDied():
            return "WARNING", "the watcher process was killed; guard and supervisor continue without it"
        case DrainTimedOut(seconds):
            return "ERROR", f"the remaining components have not finished within {seconds:g}s of the others"
        case Quiet(component, seconds):
            whose = f"{component}: " if component else ""
            return "WARNING", f"{whose}nothing has been logged and no step made here for {seconds:g}s"
        case Moving(component):
            return "INFO", f"{component or 'the run'}: active again"
        case Stalled(diagnosis=diagnosis) | Diagnosed(diagnosis):
            where = [f"all stacks are in {diagnosis.file}"] if diagnosis.file else []
            return "ERROR", "\n".join(["what the processes are doing:", *diagnosis.lines, *where])
        case NewAttempt(plan):
            held = f" on nodes {', '.join(map(str, plan.nodes.held))}" if plan.nodes and plan.nodes.held else ""
            return "INFO", f"attempt {plan.run.attempt} begins{held}"
        case GraceOver():
            return "WARNING", "the grace is over"
        case OneOverdue(name):
            return "WARNING", f"{name}: has not ended in time"
        case Reported(node, report):
            return "INFO" if report.state in ("running", "finished") else "WARNING", f"node {node}: {_progress(report)}"
        case Lost(node, why):
            return "WARNING", f"node {node}: {why}"
        case NodesOverdue():
            return "ERROR", "other nodes have not ended in time; not waiting for them any more"
        case CannotContinue(why):
            return "ERROR", why
    return None


def _done(action: Event | Action) -> tuple[str, str] | None:
    match action:
        case Stop(reason, grace):
            return "INFO", f"stopping: {reason}; grace {grace:g}s"
        case StopAttempt(reason):
            return "WARNING", f"ending this attempt: {reason}"
        case Decided(verdict):
            return "WARNING", verdict.text
        case EndOne(name, why):
            return "WARNING", f"{name}: ending it to restart it: {why}"
        case Answer(refusal=str() as refusal):
            return "WARNING", f"refused: {refusal}"
        case StartAgain(name, what, None):
            return "WARNING", f"{name}: starting it again: {what}"
        case StartAgain(name, what, left):
            return "WARNING", f"{name}: {what}; starting it again, {left} more times at most"
        case Await(suspects, seconds):
            seen = ", ".join(f"{suspect.component} seems to be dying ({suspect.why})" for suspect in suspects)
            return "WARNING", f"{seen}: waiting up to {seconds:g}s for its end"
        case KillOne(name):
            return "INFO", f"killing {name}"
        case Kill(names) if names:
            return "WARNING", f"killing {', '.join(names)}"
    return None


def _ended(who: str, exit_code: int | None, ended_by: str | None) -> tuple[str, str]:
    if ended_by:
        return "INFO", f"{who} {ending_text(exit_code, ended_by)}"
    return "INFO" if exit_code == 0 else "WARNING", f"{who} ended, {exit_text(exit_code)}"


def _progress(report: Report) -> str:
    """A node's report in words."""
    words = [report.state] + ([report.culprit.text] if report.culprit else [])
    words += [text for holds, text in ((report.done, "its components have exited 0"), (report.ended, "ended")) if holds]
    return ", ".join(words)
