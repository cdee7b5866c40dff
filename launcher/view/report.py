"""The text on the console before and after a run. It is plain, so that a pipe gets the same."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from launcher.borders.screen import in_lines
from launcher.checkpoints import newest_checkpoint
from launcher.failure.failure import Failure, exit_text
from launcher.numbers import duration, plural, three_digits
from launcher.plan.spec import ForeignRun, Plan, ProcessSpec, Progress
from launcher.rundir import RunDir
from launcher.runs.registry import call_name
from launcher.runs.state import FailureState, ProcessState, ProgressState, RunState
from launcher.slurm.client import own_job
from launcher.supervisor.events import ending_text
from launcher.tracking.wandb_links import read_wandb_links
from launcher.view.metric_curves import newest_values, read_curve, read_newest
from launcher.view.plot import plot


def header(plan: Plan, session: str | None, notes: Sequence[str] = ()) -> str:
    """The header of a new run: name, directory, components, and how to attach to it."""
    node = f", node {plan.nodes.rank} of {plan.nodes.count}" if plan.nodes else ""
    lines = [f"{plan.kind} run {plan.name}, attempt {plan.run.attempt}{node}", f"  directory  {shown(plan.run.root)}"]
    lines += [f"  {spec.name:<10} {_component(spec)}" for spec in plan.processes]
    if session:
        lines.append(f"  panes      launch attach {typed_name(plan)}")
    lines += [f"  note       {note}" for note in (*plan.notes, *notes)]
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


def failure_block(plan: Plan, failure: Failure) -> str:
    """The failure: component and rank, how it ended, its own error, its log, the collateral, and how to resume."""
    lines = [f"FAILED  {_where(failure)}: {failure.what}", ""]
    lines += [f"  {line}" for line in failure.cause.splitlines()] or ["  it left no words of its own"]
    lines.append("")
    if failure.log:
        where = f" on {failure.host}" if plan.nodes and failure.host and not failure.log.exists() else ""
        lines.append(f"  log         {shown(failure.log)}{where}")
    if failure.collateral:
        lines.append(f"  collateral  {', '.join(failure.collateral)}: ended by launch")
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


def failure_state(plan: Plan, failure: Failure | None) -> FailureState | None:
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
        text=failure_block(plan, failure),
    )


def summary(plan: Plan, state: RunState, troubles: Mapping[str, str] | None = None) -> str:
    """Duration, how each component ended, newest metrics and, unless the run failed, a small plot."""
    lines = [f"run {plan.name} {state.state} after {duration((state.ended or time.time()) - state.started)}"]
    lines += [f"  {state.reason}"] if state.reason and state.reason.startswith("stopped by") else []
    lines += [f"  {process.name:<12} {_ending(process, state.failure)}" for process in state.processes]
    lines += [f"  {name:<12} {trouble}" for name, trouble in (troubles or {}).items()]
    names = [process.name for process in state.processes]
    lines += metrics_lines(plan.run, names, plan.progress, with_plot=state.failure is None)
    lines += wandb_lines(plan.run, state.foreign_wandb)
    lines.append(f"  logs         {shown(plan.run.logs)}")
    return in_lines(lines) + "\n"


def _ending(process: ProcessState, failure: FailureState | None) -> str:
    ranks = process.ranks if failure and failure.component == process.name else []
    culprit = next((rank for rank in ranks if failure and rank.rank == failure.rank), None)
    if culprit and culprit.ended_by is None and culprit.exit_code is not None:
        return f"rank {culprit.rank}: {exit_text(culprit.exit_code)}"
    if process.process is None:
        return "not started"
    return ending_text(process.exit_code, process.ended_by)


def metrics_lines(
    run: RunDir, components: Iterable[str], progress: Progress | ProgressState, with_plot: bool = True
) -> Iterator[str]:
    """Each component's newest metrics, and a small plot of the main one."""
    for component in components:
        steps = read_newest(run.metrics(component))
        if not steps:
            continue
        newest = newest_values(steps)
        headlines = {name: value for name, value in newest.items() if name in (*HEADLINES, progress.metric)}
        values = [f"{name} {three_digits(value)}" for name, value in (headlines or newest).items()]
        yield f"  {component:<12} step {steps[-1]['step']}: {', '.join(values)}"
        if component == progress.component and with_plot:
            yield f"  {progress.metric}"
            yield from (f"  {line}" for line in plot(read_curve(run.metrics(component), progress.metric, _POINTS)))


def wandb_lines(run: RunDir, foreign: Sequence[ForeignRun], is_over: bool = True) -> Iterator[str]:
    """The links to the W&B runs and, after the run, the commands that upload the rest."""
    for link in read_wandb_links(run, foreign):
        if link.url:
            yield f"  W&B          {link.name}: {link.url}"
        if link.sync_command and is_over:
            yield f"  W&B          {link.name}: upload it with: {link.sync_command}"


_POINTS = 120  # of a plot, whose columns have two

HEADLINES = (
    "loss",
    "reward/mean",
    "evaluation/reward",
    "validation/loss",
    "evaluation/exact_match",
    "perf/tokens_per_s",
)
