"""The summary of a run: what became of it, how it went, and what to type next. Plain, so that a pipe gets the same."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from signal import SIGKILL
from typing import Any

from launcher.borders.screen import in_lines, quoted
from launcher.checkpoints import newest_checkpoint
from launcher.failure.failure import ending_text, exit_text
from launcher.numbers import duration, three_digits
from launcher.plan.spec import ForeignRun, Plan, Progress
from launcher.rundir import RunDir
from launcher.runs.state import FailureState, ProcessState, ProgressState, RunState
from launcher.tracking.wandb_links import read_wandb_links
from launcher.view.metric_curves import (
    FirstAndLast,
    newest_values,
    read_curve,
    read_evaluations,
    read_first_and_last,
    read_newest,
    value_text,
)
from launcher.view.plot import plot
from launcher.view.report import shown, typed_name
from launcher.view.timeline import slow_start_line

_POINTS = 120  # of a plot, whose columns have two

_SPEED = "perf/tokens_per_s"
HEADLINES = ("loss", "reward/mean", "evaluation/reward", "validation/loss", "evaluation/exact_match", _SPEED)


def summary(plan: Plan, state: RunState, troubles: Mapping[str, str] | None = None) -> str:
    """What became of the run, evaluation and curve, the newest checkpoint and what to type with it, W&B, logs."""
    lines = [f"run {plan.name} {state.state} after {duration((state.ended or time.time()) - state.started)}"]
    lines += [f"  {state.reason}"] if state.reason and state.reason.startswith("stopped by") else []
    lines += _endings(state)
    lines += [_row(name, trouble) for name, trouble in (troubles or {}).items()]
    names = [process.name for process in state.processes]
    lines += _learned(plan.run, names, plan.progress, with_plot=state.failure is None)
    lines += _checkpoint(plan, state) if state.failure is None else []  # else it stands in the failure's block
    slow = slow_start_line(plan.run, state)
    lines += [_row("start", slow)] if slow else []
    lines += wandb_lines(plan.run, state.foreign_wandb)
    lines.append(_row("logs", shown(plan.run.logs)))
    return in_lines(lines) + "\n"


def _row(title: str, text: str) -> str:
    return f"  {title:<12} {text}"


# --- exit codes -------------------------------------------------------------------------------------------------------


def _endings(state: RunState) -> Iterator[str]:
    """How the components ended, of those where it is news."""
    for process in state.processes:
        if process.process is None:
            if state.failure:
                yield _row(process.name, "not started")
        elif text := _culprit_text(process, state.failure):
            yield _row(process.name, text)
        elif _is_news(process):
            yield _row(process.name, ending_text(process.exit_code, process.ended_by))


def _is_news(process: ProcessState) -> bool:
    """It failed by itself, or had to be killed. A torchrun whose ranks have ended is killed soon."""
    if process.ended_by is None:
        return process.exit_code != 0
    killed = [each.exit_code == -SIGKILL for each in process.ranks] or [True]
    return process.exit_code == -SIGKILL and any(killed)


def _culprit_text(process: ProcessState, failure: FailureState | None) -> str | None:
    """ "rank 1: SIGSEGV", if one of its ranks was what failed."""
    if failure is None or failure.component != process.name:
        return None
    culprit = next((rank for rank in process.ranks if rank.rank == failure.rank), None)
    if culprit is None or culprit.ended_by is not None or culprit.exit_code is None:
        return None
    return f"rank {culprit.rank}: {exit_text(culprit.exit_code)}"


# --- metrics ----------------------------------------------------------------------------------------------------------


def _learned(run: RunDir, components: Sequence[str], progress: Progress, with_plot: bool) -> Iterator[str]:
    """First and last evaluation, the curve, and each component's newest metrics."""
    yield from evaluation_lines(run, components)
    main = read_first_and_last(run.metrics(progress.component), progress.metric)
    if main:
        yield _row(*_titled(progress.metric, main))
        if with_plot:
            curve = read_curve(run.metrics(progress.component), progress.metric, _POINTS)
            yield from (f"  {line}" for line in plot(curve))
    for component in components:
        yield from _newest(run, component, progress)


def evaluation_lines(run: RunDir, components: Iterable[str]) -> Iterator[str]:
    """First and last value of each evaluation."""
    for component in components:
        for metric, ends in read_evaluations(run.metrics(component)).items():
            kind, _, name = metric.partition("/")
            yield _row(kind, _from_to(name, ends))


def _titled(metric: str, ends: FirstAndLast) -> tuple[str, str]:
    title, _, rest = metric.partition("/")
    return title, _from_to(rest, ends)


def _from_to(name: str, ends: FirstAndLast) -> str:
    """ "reward 0.03 at step 0, 0.98 at step 140"."""
    (first, began), (last, ended) = ends
    words = [f"{three_digits(began)} at step {first}"]
    words += [f"{three_digits(ended)} at step {last}"] if last != first else []
    return f"{name} {', '.join(words)}".strip()


def _newest(run: RunDir, component: str, progress: Progress) -> Iterator[str]:
    """ "step 140: loss 0.02, 12.4k tokens/s": what was not said above."""
    steps = read_newest(run.metrics(component))
    newest = newest_values(steps)
    known = {name: newest[name] for name in ("loss", _SPEED) if name in newest}
    if component == progress.component:
        known.pop(progress.metric, None)
    if known or (newest and component != progress.component):
        yield _step_row(component, steps, known or newest)


def _step_row(component: str, steps: Sequence[Mapping[str, Any]], values: Mapping[str, float]) -> str:
    texts = [value_text(name, value) for name, value in values.items()]
    return _row(component, f"step {steps[-1]['step']}: {', '.join(texts)}")


def metrics_lines(run: RunDir, components: Iterable[str], progress: Progress | ProgressState) -> Iterator[str]:
    """Each component's newest metrics, and a small plot of the main one."""
    for component in components:
        row = newest_line(run, component, progress)
        if row is None:
            continue
        yield row
        if component == progress.component:
            yield f"  {progress.metric}"
            yield from (f"  {line}" for line in plot(read_curve(run.metrics(component), progress.metric, _POINTS)))


def newest_line(run: RunDir, component: str, progress: Progress | ProgressState) -> str | None:
    """The component's newest step and its main metrics."""
    steps = read_newest(run.metrics(component))
    if not steps:
        return None
    newest = newest_values(steps)
    headlines = {name: newest[name] for name in newest if name in (*HEADLINES, progress.metric)}
    return _step_row(component, steps, headlines or newest)


# --- what to type -----------------------------------------------------------------------------------------------------


def _checkpoint(plan: Plan, state: RunState) -> Iterator[str]:
    """The newest checkpoint, and the commands that use it."""
    if not plan.own_checkpoints or plan.run.node:  # node 0 writes them
        return
    step = newest_checkpoint(plan.run)
    if step is None:
        return
    commands = [f"launch resume {typed_name(plan)}"] if state.state == "stopped" else []
    if (plan.run.checkpoint(step) / "config.json").is_file():
        commands.append(f"launch rl --model {_typed(plan.run.root)}")
        commands.append(f"vllm serve {_typed(plan.run.checkpoint(step))}")
    yield _row("checkpoint", f"step {step}")
    yield from (_row("", command) for command in commands)


def _typed(path: Path) -> str:
    """The path as an argument, short and quoted for a shell."""
    text = shown(path)
    return quoted(f"./{text}" if text.startswith("-") else text)


def wandb_lines(run: RunDir, foreign: Sequence[ForeignRun], is_over: bool = True) -> Iterator[str]:
    """The links to the W&B runs and, after the run, the command that uploads the rest."""
    links = read_wandb_links(run, foreign)
    yield from (_row("W&B", f"{link.name}: {link.url}") for link in links if link.url)
    unsynced = list(dict.fromkeys(directory for link in links for directory in link.unsynced))
    if unsynced and is_over:
        yield _row("W&B", f"upload it with: {_sync_command(unsynced)}")


def _sync_command(directories: Sequence[str]) -> str:
    """`wandb sync outputs/otter/wandb/offline-run-*`, or all directories by name where that would be too many."""
    parents = {Path(each).parent for each in directories}
    every = {str(path) for parent in parents for path in parent.glob("offline-run-*")}
    if every == set(directories):
        return " ".join(["wandb sync", *(f"{_typed(parent)}/offline-run-*" for parent in sorted(parents))])
    is_online = any(Path(each).name.startswith("run-") for each in directories)  # wandb sync skips these by default
    words = ["wandb sync", *(["--include-online"] if is_online else []), *(_typed(Path(each)) for each in directories)]
    return " ".join(words)
