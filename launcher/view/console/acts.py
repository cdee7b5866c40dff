"""What the keys of the live view do besides showing something else. Each returns text to show above the view."""

import time
from collections.abc import Callable

from launcher.control.checkpoint import checkpoint_now
from launcher.plan.spec import Plan
from launcher.runs.state import RunState
from launcher.stacks.collectives import collective_lines
from launcher.stacks.recorders import written_records
from launcher.stacks.stacks import take_stacks
from launcher.stacks.text import stacks_text
from launcher.view.report import shown, typed_name

Acts = dict[str, tuple[str, Callable[[], str]]]
"""By key: what it is called, and what it does."""


def acts_for(now: Callable[[], tuple[Plan, RunState]]) -> Acts:
    """The keys of a run. `now` returns the plan and the state of its present attempt."""

    def stacks() -> str:
        plan, state = now()
        return stacks_text(take_stacks(plan.run, state), collective_lines(written_records(plan), time.time()))

    def attach() -> str:
        """Inside tmux, this terminal switches to the panes."""
        from launcher.view.tmux.attach import switch  # libtmux is imported where it is used

        plan, state = now()
        switched = state.tmux_session is not None and switch(state.tmux_session, state.tmux_socket)
        return "" if switched else f"the panes, in another terminal: launch attach {typed_name(plan)}"

    def checkpoint() -> str:
        plan, state = now()
        return f"checkpoint {shown(checkpoint_now(plan.run, state))}"

    plan, state = now()
    acts: Acts = {"a": ("attach", attach)} if state.tmux_session is not None else {}
    acts["s"] = ("stacks", stacks)
    if plan.own_checkpoints:
        acts["c"] = ("checkpoint", checkpoint)
    return acts
