"""What the keys of the live view do besides showing something else.

Each returns text to show above the view, or a program that gets the terminal until it ends.
"""

import time
from collections.abc import Callable, Mapping

from launcher.control.checkpoint import checkpoint_now
from launcher.plan.spec import Plan
from launcher.runs.state import RunState
from launcher.stacks.collectives import collective_lines
from launcher.stacks.recorders import written_records
from launcher.stacks.stacks import take_stacks
from launcher.stacks.text import stacks_text
from launcher.view.console.borrower import Program
from launcher.view.report import shown, typed_name

Act = Callable[[], str | Program]
Acts = Mapping[str, tuple[str, Act]]
"""By key: what it is called, and what it does."""


def acts_for(now: Callable[[], tuple[Plan, RunState]]) -> Acts:
    """The keys of a run. `now` returns the plan and the state of its present attempt."""

    def stacks() -> str:
        plan, state = now()
        return stacks_text(take_stacks(plan.run, state), collective_lines(written_records(plan), time.time()))

    def attach() -> str | Program:
        """Inside tmux, this terminal switches to the panes. Elsewhere tmux has it until the user detaches."""
        from launcher.view.tmux.attach import client, switch  # libtmux is imported where it is used
        from launcher.view.tmux.session import session_of

        plan, state = now()
        session = session_of(plan.run.own, state.tmux_socket)
        if session is None:  # a server that were started here would end with the run
            return f"the panes are closed; open them again in another terminal: launch attach {typed_name(plan)}"
        return "" if switch(session, state.tmux_socket) else Program(*client(session, state.tmux_socket))

    def checkpoint() -> str:
        plan, state = now()
        return f"checkpoint {shown(checkpoint_now(plan.run, state))}"

    plan, state = now()
    acts: dict[str, tuple[str, Act]] = {"a": ("attach", attach)} if state.tmux_session is not None else {}
    acts["s"] = ("stacks", stacks)
    if plan.own_checkpoints:
        acts["c"] = ("checkpoint", checkpoint)
    return acts
