"""Opens a layout on the user's tmux server. tmux only shows logs: no process of a run is its child.

Our session and panes are marked. The session's option `@launch_run` has the run's directory, each pane's option
`@launch_pane` has the layout that it was made for. Nothing else is touched, not even a pane that a user added to our
session.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

from libtmux import Server

from launcher.view.tmux.layout import BORDER, SCROLLBACK, Layout, Window
from launcher.view.tmux.server import (
    PATIENCE,
    Command,
    TmuxError,
    TmuxRefused,
    ask_tmux,
    literal,
    run_chain,
    tmux_server,
    word_of,
)

_START = 15.0  # seconds for one that is started here: its configuration may load plugins
_LOOK = 1  # seconds
# `##{{` keeps tmux from filling the format in before the shell has run. What a shell in tmux prints would be shown.
# The command that closes asks once more: since the loop's question another attempt may have taken the session.
_UNTIL_NOBODY = """exec >/dev/null 2>&1
while [ "$(tmux display-message -p -t {target} '##{{@launch_over}}')" = 1 ]; do
tmux if-shell -F -t {target} '{left}' "if-shell -F -t {target} '{others}' '{keep}' '{kill}'"
sleep {look}
done
true"""
_SMALLEST = (80, 24)
_WIDE = 110  # columns: room for the time in the status line
_OPENING = "opening"  # a window that is there until ours are
_FIELDS = "#{session_id} #{pane_id} #{pane_dead} #{?@launch_run,#{@launch_run},-} #{?@launch_pane,#{@launch_pane},-} #S"


@dataclass(frozen=True)
class _LivePane:
    """A pane on the server, with our marks ("-" if it has none)."""

    session_id: str
    id: str
    dead: str
    run: str
    layout: str
    session: str


def open_panes(layout: Layout, socket_name: str | None = None) -> str:
    """Make the panes of this layout, which replace those of an earlier attempt. Return the session's name.

    This may start a tmux server. Call it before becoming a subreaper, else the server becomes a child of the run.

    Raises:
        TmuxError: tmux is missing, too old, or has refused.
    """
    server = tmux_server(socket_name)
    panes = _live_panes(server)
    try:
        return _open(server, layout, panes)
    except TmuxRefused:  # since the question somebody has closed the session, a pane or the server, or taken the name
        return _open(server, layout, _live_panes(server))


def _open(server: Server, layout: Layout, panes: Sequence[_LivePane]) -> str:
    """`panes` are those of the server. It is started only if there are none."""
    patience = PATIENCE if panes else _START
    ours = [pane for pane in panes if pane.run == _run_mark(layout.root)]
    session = ours[0].session if ours else _free_name(layout.session, {pane.session for pane in panes})
    replaced = [pane.id for pane in ours if pane.layout != "-"]
    run_chain(server, _commands(layout, session, new=not ours, replaced=replaced), patience)
    _check_that_it_stays(server, session)
    return session


def _check_that_it_stays(server: Server, session: str) -> None:
    """With `exit-unattached on` a server ends when no client is attached, so panes would not stay open."""
    query = ("display-message", "-p", "-t", f"={session}:", "#{exit-unattached}", ";", "list-clients", "-F", "client")
    done = ask_tmux(server, *query)
    option, *clients = done.stdout.splitlines() or [""]
    if done.returncode != 0 or (option in ("1", "on") and not clients):
        raise TmuxError(
            "tmux closes the panes as soon as nobody is attached, so there are none",
            "the server's option exit-unattached is on: set -s exit-unattached off in ~/.tmux.conf",
        )


def ensure_panes(layout: Layout, socket_name: str | None = None, *, keep: bool = False) -> str:
    """The name of the session that shows this layout. Closed panes are opened again.

    With `keep`, a session that was about to close since nobody is attached stays open.

    Raises:
        TmuxError: tmux is missing, too old, or has refused.
    """
    server = tmux_server(socket_name)
    whole = (_run_mark(layout.root), _layout_mark(layout), "0")
    shown = [pane for pane in _live_panes(server) if (pane.run, pane.layout, pane.dead) == whole]
    if len(shown) == sum(len(window.panes) for window in layout.windows):
        session = shown[0].session
        if not keep or ask_tmux(server, "set-option", "-t", f"={session}:", "@launch_over", "0").returncode == 0:
            return session
    return open_panes(layout, socket_name)


def session_of(root: Path, socket_name: str | None = None) -> str | None:
    """The name of the session that has the panes of the run in this directory, whoever has renamed it. None if closed.

    This never starts a server. Raises TmuxError.
    """
    found = (pane.session for pane in _live_panes(tmux_server(socket_name)) if pane.run == _run_mark(root))
    return next(found, None)


def renew_panes(layout: Layout, socket_name: str | None = None) -> None:
    """Replace the run's panes by those of another attempt, if they are open. This never starts a server."""
    with suppress(TmuxError):
        server = tmux_server(socket_name)
        panes = _live_panes(server)
        if any(pane.run == _run_mark(layout.root) for pane in panes):
            _open(server, layout, panes)


def set_status(session: str, text: str, socket_name: str | None = None, *, when: float | None = None) -> None:
    """Show a text at the right of the session's status line (4 ms). It is not an error if the session is closed.

    `when`, in seconds since the epoch, is shown beside it where there is room.
    """
    shown = literal(text, is_status=True)
    if when is not None:
        shown += f"#{{?#{{e|<:#{{client_width}},{_WIDE}}},,  {time.strftime('%H:%M', time.localtime(when))}}}"
    with suppress(TmuxError):
        ask_tmux(
            Server(socket_name=socket_name),
            *("set-option", "-t", f"={session}:", "status-right", word_of(shown)),
        )


def close_panes(session: str, socket_name: str | None = None) -> None:
    """The run has ended: close its session now, or when its last client leaves."""
    with suppress(TmuxError):
        ask_tmux(Server(socket_name=socket_name), *closing(session))


def closing(session: str) -> Command:
    """What closes a session as soon as nobody is attached, unless somebody has added a pane of their own to it.

    Not by `destroy-unattached`: tmux 3.3a destroys the session then while the client that leaves still has it, and the
    whole server may end with SIGSEGV. A hook of ours would take the place of the user's, and no hook of a session is
    called when a client switches to another one. So tmux looks every `_LOOK` seconds, as long as somebody is there.
    """
    target = f"={session}:"
    over: Command = ("set-option", "-t", target, "@launch_over", "1")
    if not re.fullmatch("[A-Za-z0-9_-]+", session):  # its user has renamed it; a shell and tmux would read the name
        return over
    watch = _UNTIL_NOBODY.format(
        target=target,
        left="##{?session_attached,,##{@launch_over}}",
        others="##{W:##{P:##{?@launch_pane,,1}}}",
        keep=f"set-option -t {target} @launch_over 0",
        kill=f"kill-session -t ={session}",
        look=_LOOK,
    )
    return (*over, ";", "run-shell", "-b", watch)


def _live_panes(server: Server) -> list[_LivePane]:
    rows = ask_tmux(server, "list-panes", "-a", "-F", _FIELDS).stdout.splitlines()  # empty when no server runs
    return [_LivePane(*row.split(" ", 5)) for row in rows]


def _free_name(wanted: str, taken: set[str]) -> str:
    """A free name for the session. A run of the same name in another directory keeps its session."""
    names = (wanted if number == 1 else f"{wanted}-{number}" for number in count(1))
    return next(name for name in names if name not in taken)


def _run_mark(root: Path) -> str:
    return quote(os.fsencode(root.resolve()))


def _layout_mark(layout: Layout) -> str:
    return hashlib.blake2s(os.fsencode(repr(layout)), digest_size=8).hexdigest()


def _commands(layout: Layout, session: str, *, new: bool, replaced: Sequence[str]) -> Iterator[Command]:
    """The commands that build the layout. Ids are not known yet, so the target is the current window and pane."""
    target = f"={session}:"
    mark = _layout_mark(layout)
    yield from (("rename-window", "-t", pane, "earlier") for pane in replaced)  # stays if somebody put a pane there
    if new:
        yield _new_session(session)
    yield from _session_options(target, layout)  # first: a pane keeps the scrollback that it was made with
    for window in layout.windows:
        yield from _window_commands(window, target, mark)
    yield from (("kill-pane", "-t", pane) for pane in replaced)
    if new:
        yield ("kill-window", "-t", f"{target}={_OPENING}")
    yield ("move-window", "-r", "-t", target)
    yield ("select-window", "-t", f"{target}={layout.windows[0].name}")


def _new_session(session: str) -> Command:
    columns, lines = shutil.get_terminal_size((200, 50))
    size = ("-x", str(max(columns, _SMALLEST[0])), "-y", str(max(lines, _SMALLEST[1])))
    return ("new-session", "-d", "-s", literal(session), "-n", _OPENING, *size, "--", "tail", "-f", "/dev/null")


def _window_commands(window: Window, target: str, mark: str) -> Iterator[Command]:
    """A row for each pane, the whole window wide, so that a line of a step is not wrapped."""
    opening: Command = ("new-window", "-t", target, "-n", literal(window.name))
    for number, pane in enumerate(window.panes):
        yield (*(("split-window", "-t", target) if number else opening), "--", *pane.command)
        yield ("set-option", "-p", "-t", target, "@launch_pane", mark)
        yield ("set-option", "-wF", "-t", target, f"@launch_row_{number}", "#{pane_id}")
        yield ("select-pane", "-t", target, "-T", literal(pane.title))
        if not pane.takes_input:
            yield ("select-pane", "-t", target, "-d")
        yield ("select-layout", "-t", target, "even-vertical")
    yield ("select-pane", "-t", f"{target}.{{top}}")
    yield ("set-option", "-w", "-t", target, "pane-border-status", "top")
    yield ("set-option", "-w", "-t", target, "pane-border-format", BORDER)
    yield from _row_heights(window, target)


def _row_heights(window: Window, target: str) -> Iterator[Command]:
    """Keep the panes' shares of the window at any size: tmux takes as many lines from a small pane as from a large one.

    From top to bottom: a pane gives to those below it and takes from them.
    """
    resizing = [
        f"resize-pane -t #{{@launch_row_{number}}} -y {percent}%"
        for number, percent in enumerate(window.percentages[:-1])
    ]
    if resizing:  # of a pane that somebody has closed, tmux says that it is not there
        resize = ("run-shell", "-b", f"exec >/dev/null 2>&1; {'; '.join(f'tmux {command}' for command in resizing)}")
        yield ("set-hook", "-w", "-t", target, "window-resized", f'{" ".join(resize[:2])} "{resize[2]}"')
        yield resize


def _session_options(target: str, layout: Layout) -> Iterator[Command]:
    options = {
        "@launch_run": _run_mark(layout.root),
        "@launch_over": "0",  # see `closing`
        "destroy-unattached": "off",  # a user's global "on" would end the session before anybody attaches
        "history-limit": str(SCROLLBACK),
        "mouse": "on",
        "status": "on",
        "status-left-length": "60",
        "status-right-length": "80",
        "status-right": literal(layout.session.removeprefix("launch-"), is_status=True),
    }
    for name, value in options.items():
        yield ("set-option", "-t", target, name, value)
