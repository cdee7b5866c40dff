"""From a plan to its exit code: where run and view are connected, for `launch rl`, `launch sft` and `launch resume`."""

import os
from collections.abc import Callable
from typing import Protocol

from launcher.config.run import RunConfig
from launcher.plan.spec import Plan
from launcher.run.events import Event
from launcher.run.prepare import point_latest_at, prepare, sign
from launcher.run.provenance import provenance
from launcher.run.split import split
from launcher.run.state import RunState, StateFile, first_state, identify


class Screen(Protocol):
    """What shows a run to the person who started it."""

    def __call__(self, event: Event) -> None: ...

    def close(self, last_words: str, exit_code: int) -> None: ...


def carry_out(plan: Plan, config: RunConfig, clean: bool, detach: bool, earlier: RunState | None = None) -> int:
    """Carry the plan out: everything from the run's directory to its summary. Returns launch's exit code.

    `earlier` is the state of the attempts before this one. Raises UserError when the directory cannot be had.
    """
    lock = prepare(plan, clean, resume=earlier is not None)
    state = StateFile(plan.run, first_state(plan, provenance(), earlier))
    note = _open_panes(plan, state.state, config)
    if config.output_dir is None and earlier is None:
        point_latest_at(plan.run)
    pipe = _leave_terminal() if detach else None
    guard_pid = os.getpid()
    guard = split()
    sign(lock)
    state.state.guard, state.state.supervisor = identify(guard_pid), identify(os.getpid())
    return _supervise(plan, config, state, guard, lambda header: _screen(plan, header, pipe), note)


def _open_panes(plan: Plan, state: RunState, config: RunConfig) -> str | None:
    """Open the run's panes; returns why there are none, if there should be."""
    if not config.tmux.enabled:
        return None
    from launcher.view.panes import layout_of
    from launcher.view.tmux import TmuxError, open_panes

    try:
        state.tmux_session = open_panes(layout_of(plan.run, state), config.tmux.socket_name)
        state.tmux_socket = config.tmux.socket_name
    except TmuxError as error:
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return None


def _leave_terminal() -> int:
    from launcher.view.detached import leave_terminal

    return leave_terminal()


def _screen(plan: Plan, header: str, pipe: int | None) -> Screen:
    from launcher.logger import get_logger
    from launcher.view.console import Console
    from launcher.view.detached import Detached

    if pipe is not None:
        return Detached(plan, header, pipe)
    return Console(plan, header, lambda error: get_logger().info("the console is gone ({}); the run goes on", error))


def _supervise(
    plan: Plan, config: RunConfig, state: StateFile, guard: int, make_screen: Callable[[str], Screen], note: str | None
) -> int:
    """What the supervisor does from its first moment to its last."""
    from launcher.logger import get_logger, log_to
    from launcher.registry import register
    from launcher.run.cause import find_cause
    from launcher.run.supervisor import supervise
    from launcher.view.launcher_log import log_event
    from launcher.view.panes import StatusLine
    from launcher.view.report import failure_block, failure_state, header, summary

    log_to(plan.run.launcher_log)
    state.state.state = "running"
    state.write_if_possible()
    register(plan.run.root)
    screen = make_screen(header(plan, state.state.tmux_session, [note] if note else []))
    session = state.state.tmux_session
    status = StatusLine(plan, session, state.state.tmux_socket) if session else None
    policy = supervise(plan, [log_event, state, screen], guard, config.on_hangup == "stop")
    failure = find_cause(plan, policy)
    state.end(policy.state.value, policy.exit_code, failure_state(plan, failure))
    if status:
        status.close(policy.state.value)
    last_words = (failure_block(plan, failure) if failure else "") + summary(plan, policy, state.state.started)
    get_logger().info("{}", last_words)
    if config.on_exit:
        run_on_exit(config.on_exit, state)
    screen.close(last_words, policy.exit_code)
    return policy.exit_code


def run_on_exit(command: str, state: StateFile) -> None:
    from launcher.logger import get_logger
    from launcher.run.on_exit import run_on_exit as run

    trouble = run(command, state.run, state.state)
    if trouble:
        get_logger().warning("--on-exit {}: {}", command, trouble)
