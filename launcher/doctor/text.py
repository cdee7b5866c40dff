"""The result of `launch doctor`, as text."""

import textwrap
from collections.abc import Iterable, Iterator
from typing import get_args

from launcher.borders.screen import in_lines
from launcher.doctor.check import Check, Group
from launcher.view.tmux.server import TmuxError, ask_tmux, tmux_server

WIDTH = 80  # columns


def check_tmux() -> Check:
    """Whether tmux can show panes."""
    try:
        ask_tmux(tmux_server(None), "list-sessions")  # no error without a server: a run starts one
    except TmuxError as error:
        return Check("tmux", "panes", "warn", error.message, error.hint or "")
    return Check("tmux", "panes", "ok", "a run shows its logs there")


def doctor_text(checks: Iterable[Check]) -> str:
    """The checks by group, a line or two each, with the fix below a bad one; then the verdict."""
    checks = list(checks)
    lines = [line for group in get_args(Group) for line in _group(group, checks)]
    return in_lines([*lines, "", _verdict(checks)]) + "\n"


def _group(group: Group, checks: Iterable[Check]) -> Iterator[str]:
    own = [check for check in checks if check.group == group]
    if own:
        yield group
    for check in own:
        yield from _wrapped(f"  {check.state:<5} {check.name:<14}", check.found)
        if check.fix:
            yield from _wrapped(" " * 22 + "-> ", check.fix)


def _wrapped(start: str, text: str) -> list[str]:
    indent = " " * len(start)
    return textwrap.wrap(
        text, WIDTH, initial_indent=start, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _verdict(checks: Iterable[Check]) -> str:
    failed = [check.name for check in checks if check.state == "fail"]
    return f"a run cannot start here: {', '.join(failed)}" if failed else "a run can start here"
