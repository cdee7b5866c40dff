"""The text on the console before a run, and its failure block. It is plain, so that a pipe gets the same."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from launcher.borders.screen import in_lines
from launcher.checkpoints import newest_checkpoint
from launcher.failure.failure import Failure
from launcher.jobs.schedulers import own_job
from launcher.numbers import plural
from launcher.plan.spec import Plan, ProcessSpec
from launcher.runs.registry import call_name
from launcher.runs.state import FailureState
from launcher.view.metric_curves import read_newest
from launcher.view.terminal import size_of_terminal, wrapped


def header(plan: Plan, session: str | None, notes: Sequence[str] = ()) -> str:
    """The header of a new run: name, directory, components, how to attach. On a terminal notes are wrapped."""
    node = f", {plan.nodes.text}" if plan.nodes else ""
    rows = [("directory", shown(plan.run.root)), *((spec.name, _component(spec)) for spec in plan.processes)]
    if session:
        rows.append(("panes", f"launch attach {typed_name(plan)}"))
    lines = [f"{plan.kind} run {plan.name}, attempt {plan.run.attempt}{node}"]
    lines += [f"  {label:<12} {text}" for label, text in rows]
    for note in (*plan.notes, *notes):
        title = f"  {'note':<12} "
        lines += wrapped(title, note, size_of_terminal()[0]) if sys.stdout.isatty() else [f"{title}{note}"]
    return in_lines(lines) + "\n"


def _component(spec: ProcessSpec) -> str:
    ranks = f"{plural(spec.ranks.count, 'rank')}, " if spec.ranks else ""
    gpus = f"GPU {','.join(spec.gpus)}" if spec.gpus else "CPU"
    return f"{ranks}{gpus}"


def shown(path: Path) -> str:
    """A path as a person would type it from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def failure_block(plan: Plan, failure: Failure, verdict: str | None = None) -> str:
    """The failure: component and rank, how it ended, its own error, its log, the collateral, and how to resume.

    `verdict` says whether the run is restarted, if that was asked for.
    """
    lines = [f"FAILED  {_where(failure)}: {failure.what}", ""]
    lines += [f"  {line}" for line in failure.cause.splitlines()] or ["  it left no words of its own"]
    lines.append("")
    if failure.log:
        where = f" on {failure.host}" if plan.nodes and failure.host and not failure.log.exists() else ""
        lines.append(f"  log         {shown(failure.log)}{where}")
    if failure.collateral:
        lines.append(f"  collateral  {', '.join(failure.collateral)}: ended by launch")
    lines += [f"  verdict     {verdict}"] if verdict else []
    lines += _how_to_resume(plan)
    return in_lines(lines) + "\n\n"


def _how_to_resume(plan: Plan) -> Iterator[str]:
    """The checkpoint that the next attempt would continue from, and the command for it, if there is a checkpoint."""
    if plan.own_checkpoints and not plan.run.node:  # node 0 writes them, perhaps to a disk of its own
        step = newest_checkpoint(plan.run)
        if step is None:
            yield "  checkpoint  none yet, so there is nothing to resume: start again"
            return
        yield f"  checkpoint  step {step}"
    yield f"  resume      launch resume {_typed(plan)}"
    if not plan.own_checkpoints:
        yield "              starts your trainer again, which has to find its own checkpoint"


def resume_note(plan: Plan) -> str | None:
    """For an attempt after the first: the step that it continues from, and the last step before."""
    if plan.run.attempt == 1 or not plan.own_checkpoints or plan.run.node:
        return None
    step, reached = newest_checkpoint(plan.run), read_newest(plan.run.metrics("trainer"))
    had = f"; step {reached[-1]['step']} had been reached" if reached and reached[-1]["step"] > (step or 0) else ""
    return (f"continues from step {step}" if step is not None else "there is no checkpoint: begins at step 1") + had


def _where(failure: Failure) -> str:
    """ "trainer rank 5 on node 1 (n1)"."""
    words = failure.component if failure.rank is None else f"{failure.component} rank {failure.rank}"
    if failure.node is None or failure.component == f"node {failure.node}":
        return words
    return f"{words} on node {failure.node}" + (f" ({failure.host})" if failure.host else "")


def typed_name(plan: Plan) -> str:
    """The run as a person names it."""
    return call_name(plan.run.root, plan.name)


def _typed(plan: Plan) -> str:
    """The arguments of `launch resume`, which is typed on each node."""
    run = typed_name(plan)
    by_hand = plan.nodes is not None and own_job() is None
    return f"{run} --node-rank {plan.nodes.rank}, and so on each node" if plan.nodes and by_hand else run


def failure_state(plan: Plan, failure: Failure | None, verdict: str | None = None) -> FailureState | None:
    """The failure as run.json keeps it, the block included."""
    if failure is None:
        return None
    return FailureState(
        component=failure.component,
        rank=failure.rank,
        what=failure.what,
        cause=failure.cause,
        log=failure.log,
        collateral=list(failure.collateral),
        node=failure.node,
        host=failure.host,
        text=failure_block(plan, failure, verdict),
    )
