"""Attaches the user's terminal to the panes of a run."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from libtmux import Server

from launcher.errors import UserError
from launcher.view.tmux.server import Command, TmuxError, ask_tmux, tmux_server
from launcher.view.tmux.session import close_panes, closing


def attach(
    session: str, run: str, socket_name: str | None = None, window: str | None = None, *, closes: bool = False
) -> None:
    """Show the session of a run: inside tmux the client switches to it, outside this process becomes `tmux attach`.

    `run` is the run's name as a person types it. With `closes`, the session is closed when the last client leaves.

    Raises:
        UserError: there is no such window, no terminal, or tmux has refused.
    """
    try:
        _attach(session, run, socket_name, window, closing(session) if closes else ())
    except UserError:
        if closes:
            close_panes(session, socket_name)
        raise


def _attach(session: str, run: str, socket_name: str | None, window: str | None, then: Command) -> None:
    server = tmux_server(socket_name)
    target = _target(server, session, window)
    if _is_inside(server):
        _checked(server, "switch-client", "-t", target, *_chained(then))
    elif sys.stdin.isatty() and sys.stdout.isatty():
        _become_tmux(socket_name, target, then)
    else:
        raise UserError("there is no terminal to attach to", f"`launch logs {run}` prints the logs, -f follows them")


def switch(session: str, socket_name: str | None = None) -> bool:
    """Inside tmux, show the session in this terminal. False elsewhere, and if tmux refuses."""
    try:
        server = tmux_server(socket_name)
        if not _is_inside(server):
            return False
        _checked(server, "switch-client", "-t", f"={session}:")
    except (UserError, TmuxError):
        return False
    return True


def client(session: str, socket_name: str | None = None) -> tuple[Command, dict[str, str]]:
    """The command that attaches outside of tmux, and its environment. It starts no server."""
    return _client_command(socket_name, f"={session}:", ()), _client_environment()


def _target(server: Server, session: str, window: str | None) -> str:
    if window is None:
        return f"={session}:"
    names = _checked(server, "list-windows", "-t", f"={session}:", "-F", "#W").splitlines()
    if window not in names:
        raise UserError(f"the run has no window {window!r}", f"its windows: {', '.join(names)}")
    return f"={session}:={window}"


def _is_inside(server: Server) -> bool:
    """Whether this process runs in a pane of the same server: a client cannot switch to another server."""
    here = os.environ.get("TMUX", "").split(",")[0]
    there = _checked(server, "display-message", "-p", "#{socket_path}")
    return here != "" and Path(here).resolve() == Path(there).resolve()


def _checked(server: Server, *command: str) -> str:
    """The command's output.

    Raises:
        TmuxError: tmux has refused.
    """
    done = ask_tmux(server, *command)
    if done.returncode != 0:
        raise TmuxError(f"tmux has refused: {done.stderr.strip()}")
    return done.stdout.rstrip("\n")


def _chained(command: Command) -> Command:
    """The command, chained after `attach` so that it runs only when a client is attached."""
    return (";", *command) if command else ()


def _become_tmux(socket_name: str | None, target: str, then: Command) -> NoReturn:
    os.execvpe("tmux", _client_command(socket_name, target, then), _client_environment())


def _client_command(socket_name: str | None, target: str, then: Command) -> Command:
    socket = (f"-L{socket_name}",) if socket_name else ()
    return ("tmux", "-N", *socket, "attach-session", "-t", target, *_chained(then))


def _client_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("TMUX", "TMUX_PANE")}
