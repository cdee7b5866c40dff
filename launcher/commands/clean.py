"""`launch clean`: what of old runs may go, and removing it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from launcher.borders.screen import in_one_line
from launcher.commands.common import NAMED, seconds_of, typer_command
from launcher.errors import UserError
from launcher.home import in_home
from launcher.jobs.jobs import ask_for, settled
from launcher.numbers import plural, size
from launcher.options.load import read_config_of_run
from launcher.rundir import RunDir
from launcher.runs.choice import find_run
from launcher.runs.keeping.clean import FAILED, foreign_checkpoints, size_of, why_kept
from launcher.runs.keeping.clean import clean as clean_run
from launcher.runs.registry import every_run, project_runs, recorded
from launcher.runs.state import RunState, read_state
from launcher.view.report import shown
from launcher.view.status.model import RunStatus, run_status
from launcher.view.status.table import age
from launcher.view.terminal import aligned, joined


@dataclass(frozen=True)
class _Found:
    run: RunDir
    state: RunState
    status: RunStatus
    kept: str | None  # why; None if it may go

    @property
    def ended(self) -> float:
        return self.status.ended or self.status.last_seen or self.status.started


def clean(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help=f"{NAMED}; default: all below ./outputs")
    ] = None,
    older_than: Annotated[str | None, typer.Option(metavar="7d", help="only runs that ended longer ago")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="only runs that failed or died")] = False,
    keep_best: Annotated[
        bool, typer.Option("--keep-best", help="keep the run with the best reward or loss of each kind")
    ] = False,
    everywhere: Annotated[bool, typer.Option("--all", help="also runs elsewhere")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", "--yes", help="do it; by default it only says what would go")
    ] = False,
) -> int:
    """Show which runs would go and how much they take; with --delete, remove them.

    A run that is alive never goes, nor what another user may write to, a run whose checkpoint another run started
    from, or a checkpoint that a trainer of your own has written.
    """
    seconds = 0.0 if older_than is None else seconds_of("--older-than", older_than)
    if delete and not (names or older_than or failed):
        raise UserError("--delete without a choice would remove every run", "add --older-than 7d, --failed or a run")
    found = [_judged(each, seconds, failed) for each in _runs(names or [], everywhere)]
    if keep_best:
        found = list(_with_best_kept(found))
    models = {root: model for root in (every_run() if found else ()) if (model := _model_of(root))}
    while (kept := list(_with_models_kept(found, models))) != found:  # a run that stays may keep another one
        found = kept
    going = [each for each in found if each.kept is None]
    print("\n".join(_report(found, going, delete)), flush=True)
    return _remove(going) if delete else 0


def _runs(names: Sequence[str], everywhere: bool) -> list[_Found]:
    """The runs in question, the newest first. Unreadable ones are left alone."""
    if names:
        read = [find_run(name, "clean") for name in dict.fromkeys(names)]
    else:
        roots = every_run() if everywhere else project_runs()
        runs = [recorded(root) or RunDir(root) for root in roots]
        read = [(run, state) for run in runs if (state := read_state(run))]
    jobs = ask_for(state for _, state in read)
    found = [_Found(run, state, run_status(run, state, jobs), None) for run, state in read]
    return sorted(found, key=lambda each: each.state.started, reverse=True)


def _judged(each: _Found, seconds: float, failed: bool) -> _Found:
    reason: str | None = None
    if not each.status.is_over or (failed and each.status.state not in FAILED):
        reason = each.status.state
    elif time.time() - each.ended < seconds:
        reason = f"ended {age(time.time() - each.ended)} ago"
    state = each.state
    if state.state == "queued":  # its scheduler has said that it is over
        state = state.model_copy(update={"state": "stopped"})
    return replace(each, kept=reason or why_kept(each.run, state))


def _with_best_kept(found: Sequence[_Found]) -> Iterator[_Found]:
    best: dict[tuple[str, str], _Found] = {}
    for each in found:
        value, kind = each.status.value, (each.status.kind, each.status.metric)
        if value is None:
            continue
        other = best[kind].status.value if kind in best else None
        if other is None or (value < other if "loss" in each.status.metric else value > other):
            best[kind] = each
    for each in found:
        is_best = any(each is other for other in best.values())
        yield replace(each, kept=f"the best {each.status.metric}") if is_best and each.kept is None else each


def _with_models_kept(found: Sequence[_Found], models: Mapping[Path, Path]) -> Iterator[_Found]:
    """A run stays while another one that stays has started from its checkpoint. `models` is what each started from."""
    going = {each.run.root for each in found if each.kept is None}
    for each in found:
        users = [
            root.name
            for root, model in models.items()
            if root not in going and root != each.run.root and model.is_relative_to(each.run.root)
        ]
        yield replace(each, kept=f"{users[0]} started from it") if users and each.kept is None else each


def _model_of(root: Path) -> Path | None:
    """The directory that a run started from, if it is one."""
    run = recorded(root) or RunDir(root)
    state = read_state(run)
    with suppress(OSError, UserError, ValueError, KeyError, TypeError, RuntimeError):
        name = read_config_of_run(run.config).values["trainer"]["model"]["name"]
        if state is not None:
            return (state.cwd / (in_home(name) or Path(name))).resolve()
    return None


def _report(found: Sequence[_Found], going: Sequence[_Found], delete: bool) -> Iterator[str]:
    if not found:
        yield "there is no run here; those elsewhere: launch clean --all"
        return
    sizes = {each.run.root: size_of(each.run.root, foreign_checkpoints(each.run, each.state)) for each in found}
    rows = [("NAME", "STATE", "ENDED", "SIZE", "")]
    for each in found:
        ended = age(time.time() - each.ended) if each.status.is_over else ""
        what = "goes" if each.kept is None else f"kept: {each.kept}"
        what += "; its own checkpoints stay" if each.kept is None and foreign_checkpoints(each.run, each.state) else ""
        rows.append((each.state.name, each.status.state, ended, size(sizes[each.run.root]), what))
    columns = [aligned(column, right=column[0] in ("ENDED", "SIZE")) for column in zip(*rows, strict=True)]
    yield from map(joined, zip(*columns, strict=True))
    total = size(sum(sizes[each.run.root] for each in going))
    yield ""
    verb = "would go" if not delete else "goes" if len(going) == 1 else "go"
    yield f"{plural(len(going), 'run')} of {len(found)} {verb}: {total}"
    if going and not delete:
        yield "nothing was removed; add --delete to remove them"


def _remove(going: Sequence[_Found]) -> int:
    code = 0
    for each in going:
        try:
            settled(each.run, each.state)  # a job that ended in its queue could not say so
            clean_run(each.run)
            print(in_one_line(f"removed {shown(each.run.root)}"), flush=True)
        except UserError as error:
            print(str(error), flush=True)
            code = 1
    return code


command = typer_command(clean)
