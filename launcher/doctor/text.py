"""The result of `launch doctor`, as text."""

from collections.abc import Iterable, Iterator
from typing import get_args

from launcher.borders.screen import in_lines
from launcher.doctor.check import Check, Group
from launcher.view.terminal import BOLD, GREEN, RED, YELLOW, painted, wrapped
from launcher.view.tmux.server import TmuxError, ask_tmux, tmux_server

WIDTH = 80  # columns
_COLOURS = {"ok": GREEN, "warn": YELLOW, "fail": RED}


def check_tmux() -> Iterator[Check]:
    """Whether tmux can show panes."""
    try:
        ask_tmux(tmux_server(None), "list-sessions")  # no error without a server: a run starts one
    except TmuxError as error:
        yield Check("tmux", "panes", "warn", error.message, error.hint or "")
        return
    yield Check("tmux", "panes", "ok", "a run shows its logs there")


def doctor_text(checks: Iterable[Check], colours: bool = False) -> str:
    """The checks by group, a line or two each, with the fix below a bad one; then the verdict."""
    checks = list(checks)
    lines = [line for group in get_args(Group) for line in _group(group, checks, colours)]
    verdict = painted(in_lines([_verdict(checks)]), BOLD, colours)
    return "\n".join([*lines, "", verdict]) + "\n"


def _group(group: Group, checks: Iterable[Check], colours: bool) -> Iterator[str]:
    own = [check for check in checks if check.group == group]
    if own:
        yield painted(group, BOLD, colours)
    for check in own:
        first, *rest = wrapped(f"  {check.state:<5} {in_lines([check.name]):<14}", check.found, WIDTH)
        yield first.replace(check.state, painted(check.state, _COLOURS[check.state], colours), 1)
        yield from rest
        if check.fix:
            yield from wrapped(" " * 22 + "-> ", check.fix, WIDTH)


def _verdict(checks: Iterable[Check]) -> str:
    failed = [check.name for check in checks if check.state == "fail"]
    return f"a run cannot start here: {', '.join(failed)}" if failed else "a run can start here"
