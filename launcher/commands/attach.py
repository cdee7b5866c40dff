"""`launch attach`."""

from typing import Annotated

import typer

from launcher.commands.common import RunArgument, TrustOption, typer_command
from launcher.runs.choice import find_run
from launcher.runs.liveness import GOING_ON, true_state
from launcher.runs.registry import call_name
from launcher.runs.trust import check_trusted
from launcher.view.tmux.attach import attach as attach_to
from launcher.view.tmux.in_pod import attach_in_pod
from launcher.view.tmux.panes import layout_of, show_status
from launcher.view.tmux.session import ensure_panes


def attach(
    run: RunArgument = None,
    window: Annotated[str | None, typer.Option(help="the window to show: logs, ranks, launcher, metrics")] = None,
    each_rank: Annotated[bool, typer.Option("--each-rank", help="a pane for each rank, not one for all")] = False,
    trust: TrustOption = False,
) -> int:
    """Attach to a run's tmux panes. Closed panes are opened again, also for a run that has ended."""
    found, state = find_run(run, "attach")
    check_trusted(found, state.name, "attach", trust)
    attach_in_pod(found, state, [*(("--window", window) if window else ()), *(("--each-rank",) if each_rank else ())])
    closes = not state.tmux_keep and true_state(found, state) not in GOING_ON
    session = ensure_panes(layout_of(found, state, each_rank=each_rank), state.tmux_socket, keep=closes)
    show_status(found, state, session)
    attach_to(session, call_name(found.root, state.name), state.tmux_socket, window, closes=closes)
    return 0


command = typer_command(attach)
