"""`launch samples`."""

from typing import Annotated

import typer

from launcher.commands.common import RunArgument, typer_command
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.runs.choice import find_run
from launcher.tracking.samples import read_samples, samples_file, steps_of
from launcher.view.pager import paged
from launcher.view.samples import ordered, samples_text
from launcher.view.terminal import shows_colours

COMPONENTS = ("orchestrator", "trainer")


def samples(
    run: RunArgument = None,
    step: Annotated[int | None, typer.Option(help="of this step; default: the newest")] = None,
    worst: Annotated[bool, typer.Option("--worst", help="those of the lowest reward first")] = False,
    best: Annotated[bool, typer.Option("--best", help="those of the highest reward first")] = False,
    count: Annotated[int, typer.Option(min=1, help="how many to show")] = 16,
) -> int:
    """What the model was asked in a step of the run, what it said, and its rewards; in a pager on a terminal."""
    if worst and best:
        raise UserError("--worst and --best are both given", "give one of the two")
    found, state = find_run(run, "samples")
    try:
        component, taken = _which(found, state.name, step)
    except OSError as error:
        raise UserError(f"the samples of {state.name} cannot be read: {error.filename} {error.strerror}") from error
    try:
        rows = read_samples(samples_file(found.samples(component), taken))
    except OSError as error:
        raise UserError(f"the samples of step {taken} cannot be read: {error.strerror or error}") from error
    shown = ordered(rows, "worst" if worst else "best" if best else None)[:count]
    title = f"{state.name}, {component}, step {taken}: {len(shown)} of {len(rows)} samples"
    text = samples_text(shown, title, shows_colours())
    with paged(True):
        print(text, end="")
    return 0


def _which(run: RunDir, name: str, step: int | None) -> tuple[str, int]:
    """The component whose samples are meant, and the step. Raises OSError, also for a link in place of a directory."""
    kept = {component: steps for component in COMPONENTS if (steps := steps_of(run.samples(component)))}
    if not kept:
        raise UserError(f"{name} has no samples yet", "RL writes them at each step, SFT at each evaluation")
    component, steps = next(iter(kept.items()))
    if step is not None and step not in steps:
        near = sorted(sorted(steps, key=lambda each: abs(each - step))[:5])
        raise UserError(f"there are no samples of step {step}", f"near it: {', '.join(map(str, near))}")
    return component, steps[-1] if step is None else step


command = typer_command(samples)
