"""`launch restart`."""

import time
from typing import Annotated, Any

import typer

from launcher.borders.screen import in_one_line
from launcher.commands.common import OnlyRunArgument, StyledCommand, TrustOption, typer_command
from launcher.control.client import ask
from launcher.control.messages import Request
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.runs.choice import find_run
from launcher.runs.liveness import is_local, of_this_host, true_state
from launcher.runs.registry import call_name
from launcher.runs.state import ProcessState, RunState, read_state
from launcher.runs.stop import check_mine
from launcher.runs.trust import check_trusted

POLL = 0.1  # seconds between two looks at run.json
LEFT_OUT = "\0"  # in place of RUN; no word of a command line can be this


class _RunMayBeLeftOut(StyledCommand):
    """A single word is COMPONENT."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = [word for word in args if not word.startswith("-")]
        return super().parse_args(ctx, [LEFT_OUT, *args] if len(words) == 1 else args)


def restart(
    *,
    run: OnlyRunArgument = None,
    component: Annotated[str, typer.Argument(metavar="COMPONENT", help="inference, or a service")],
    trust: TrustOption = False,
) -> int:
    """Restart one component that serves, in a run that is alive. All others keep running."""
    found, state = of_this_host(*find_run(None if run == LEFT_OUT else run, "restart"))
    _check_alive(found, state)
    check_mine(found, state, f"restart {call_name(found.root, state.name)} {component}")
    check_trusted(found, state.name, f"restart {state.name}", trust)
    before = _check_component(state, component)
    reply = ask(found, state, Request(restart=before.name))
    if reply.refusal:
        raise UserError(f"{state.name}: {component} was not restarted: {reply.refusal}")
    print(in_one_line(f"restarting {component} of {state.name} ..."), flush=True)
    return _await(found, state, before)


def _check_alive(run: RunDir, state: RunState) -> None:
    now = true_state(run, state)
    if now in ("running", "silent") and not is_local(state):
        raise UserError(f"{state.name} runs on {state.host}", "type this there")
    if now != "running":
        begin = f"\n  start it again with: launch resume {call_name(run.root, state.name)}" if state.ended else ""
        raise UserError(f"{state.name} is {now}: only a component of a running run can be restarted{begin}")


def _check_component(state: RunState, component: str) -> ProcessState:
    found = next((process for process in state.processes if process.name == component), None)
    if found is None:
        names = ", ".join(process.name for process in state.processes)
        raise UserError(f"{state.name} has no component {component!r} here", f"it has: {names}")
    return found


def _await(run: RunDir, state: RunState, before: ProcessState) -> int:
    """Wait until the component has been started anew and, if it has a readiness check, is ready."""
    while True:
        now = read_state(run) or state
        name, process = before.name, now.process(before.name)
        is_new = process.process is not None and process.process != before.process
        is_up = process.ready_after is not None or not process.has_ready_check
        if is_new and (process.exit_code == 0 or (process.exit_code is None and is_up)):  # a service may end well
            assert process.process is not None
            after = "started" if process.ready_after is None else f"ready after {process.ready_after:.1f}s"
            print(in_one_line(f"{name}: {after}, pid {process.process.pid}"))
            return 0
        if (word := true_state(run, now)) != "running":
            print(in_one_line(f"{state.name} is {word} before {name} was back; see: launch status {state.name}"))
            return 1
        time.sleep(POLL)


command = typer_command(restart, _RunMayBeLeftOut)
