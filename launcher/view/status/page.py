"""The page of `launch status RUN`: one run in full."""

import time
from collections.abc import Iterator
from pathlib import Path

from launcher.borders.screen import in_lines
from launcher.failure.failure import ending_text
from launcher.numbers import duration, plural, size
from launcher.rundir import RunDir
from launcher.runs.inspection import ComponentStatus, ProcessStatus
from launcher.runs.registry import call_name
from launcher.runs.state import RunState
from launcher.runs.waits import waits_text
from launcher.view.last_words import emphasised
from launcher.view.metric_curves import steps_text
from launcher.view.report import shown
from launcher.view.status.model import AttemptStatus, NodeStatus, RunDetails
from launcher.view.status.table import state_word, whereabouts
from launcher.view.summary import metrics_lines, wandb_lines
from launcher.view.terminal import aligned, joined

_FLUSH_RIGHT = ("PID", "CPU", "MEMORY")


def run_page(state: RunState, details: RunDetails, colours: bool) -> str:
    why = reason_text(details.state, details.reason)
    words = [details.state + why, f"attempt {details.attempt}"]
    words += _nodes(details)
    words += [f"step {steps_text(details.step, details.max_steps)}"] if details.step is not None else []
    lines = [f"{details.kind} run {details.name}: {', '.join(words)}"]
    lines += [*(whereabouts(details) if details.state != "queued" else ()), *_times(details), ""]
    lines += [*_processes(details), ""]
    lines += [f"  {'' if number else 'now':<12} {waits_text([wait])}" for number, wait in enumerate(details.waits)]
    lines += [f"  {'late':<12} {details.late.text}"] if details.late else []
    run = RunDir(Path(details.directory), details.attempt, state.node)
    lines += metrics_lines(run, [component.name for component in details.components], state.progress)
    lines += wandb_lines(run, state.foreign_wandb, details.is_over)
    lines += [f"  checkpoint   step {details.checkpoint}"] if details.checkpoint is not None else []
    lines += [f"  logs         {shown(Path(details.logs))}", ""]
    if details.failure:
        lines += [*details.failure["text"].rstrip("\n").split("\n"), ""]
    page = in_lines([*lines, *_next(state, details, call_name(run.root, state.name))])
    return emphasised(page.replace(f": {details.state}", f": {state_word(details.state, colours)}", 1), colours)


def reason_text(state: str, reason: str | None) -> str:
    """The text after the state: " (time limit)", or the rest of "stopped by pid 4711 (…)"."""
    if reason and reason.startswith(f"{state} "):
        return reason.removeprefix(state)
    return f" ({reason})" if reason else ""


def _nodes(details: RunDetails) -> list[str]:
    """ "2 nodes", "1 spare", "here node 0"; nothing in a run that began on one node."""
    if details.node is None and details.node_count == 1:
        return []
    spares = [plural(len(details.spares), "spare")] if details.spares else []
    return [plural(details.node_count, "node"), *spares, f"here node {details.node or 0}"]


def _times(details: RunDetails) -> Iterator[str]:
    yield f"  directory    {shown(Path(details.directory))}"
    begun = "submitted" if details.state == "queued" else "started"
    yield f"  {begun:<12} {_clock(details.started)} on {details.host}"
    if details.job:
        yield f"  job          {details.job}"
    if details.ended:
        code = "" if details.exit_code is None else f", exit code {details.exit_code}"
        yield f"  ended        {_clock(details.ended)}, after {duration(details.duration)}{code}"
    elif details.state == "died" and details.last_seen:
        yield f"  last seen    {_clock(details.last_seen)}, after {duration(details.duration)}; its supervisor is gone"
    elif not details.is_over:
        yield f"  for          {duration(details.duration)}"
    if (verdict := details.verdict) and verdict["again"] and details.state != "stopping" and not details.is_over:
        at = time.strftime("%H:%M:%S", time.localtime(verdict["decided"] + verdict["seconds"]))
        yield f"  restart      attempt {details.attempt + 1} begins at {at}: {verdict['why']}"
    yield from (f"  earlier      {_attempt(attempt)}" for attempt in details.earlier)


def _attempt(attempt: AttemptStatus) -> str:
    took = f" after {duration(attempt.ended - attempt.started)}" if attempt.ended else ""
    why = reason_text(attempt.state, attempt.reason)
    verdict = f"; {attempt.verdict['text']}" if attempt.verdict and attempt.state == "failed" else ""
    return f"attempt {attempt.attempt} {attempt.state}{why}{took}{verdict}"


def _clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


# --- processes --------------------------------------------------------------------------------------------------------


def _processes(details: RunDetails) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("", "PID", "STATE", "CPU", "MEMORY", "GPU")]
    rows += [_row(process) for process in details.launchers if process.state == "running"]
    for component in details.components:
        rows.append(_row(component, _gpus(component)))
        rows += [_row(rank, indent="  ") for rank in component.ranks]
    for node in details.other_nodes:
        rows.append((f"node {node.node}", "", f"{node.state} on {node.host}: {_what(node)}", "", "", ""))
    columns = [
        aligned(column, right=column[0] in _FLUSH_RIGHT) for column in zip(*rows, strict=True) if any(column[1:])
    ]
    yield from (f"  {joined(row)}" for row in zip(*columns, strict=True))


def _what(node: NodeStatus) -> str:
    """ "trainer with 8 ranks"."""
    ranks = [len(component.ranks) for component in node.components]
    count = [f" with {plural(number, 'rank')}" if number else "" for number in ranks]
    return ", ".join(component.name + its for component, its in zip(node.components, count, strict=True))


def _row(process: ProcessStatus, gpus: str = "", indent: str = "") -> tuple[str, ...]:
    usage = process.usage
    taken = (f"{usage.cpu:.0f}%", size(usage.memory)) if usage else ("", "")
    pid = str(process.pid) if process.pid and process.state == "running" else ""
    return (indent + process.name, pid, presence(process), *taken, gpus)


def presence(process: ProcessStatus) -> str:
    """Its state, in words."""
    if process.state == "exited":
        return ending_text(process.exit_code, process.ended_by)
    if not isinstance(process, ComponentStatus) or process.state != "running":
        return process.state
    state = process.state if process.ready_after is None else f"ready after {process.ready_after:.1f}s"
    return f"{state}, {plural(process.restarts, 'restart')}" if process.restarts else state


def _gpus(component: ComponentStatus) -> str:
    memory = component.usage.gpu_memory if component.usage else None
    return ",".join(component.gpus) + (f" ({size(memory)})" if memory else "")


# --- what to type -----------------------------------------------------------------------------------------------------


def _next(state: RunState, details: RunDetails, run: str) -> Iterator[str]:
    for number, command in enumerate(_commands(state, details, run)):
        yield f"  {'next' if number == 0 else '':<12} launch {command}"


def _commands(state: RunState, details: RunDetails, run: str) -> Iterator[str]:
    if not details.is_over:
        yield f"attach {run}"
        yield f"logs {run} -f"
        yield f"stop {run}" if details.is_local or details.job else f"stop {run} (on {details.host})"
        return
    yield f"logs {run}"
    ranks = [rank for component in details.components for rank in component.ranks]
    if any(process.state == "running" for process in (*details.launchers, *details.components, *ranks)):
        yield f"stop {run} (some of its processes are still there)"
    if details.state != "finished" and (details.checkpoint is not None or not state.own_checkpoints or details.node):
        yield f"resume {run}"
