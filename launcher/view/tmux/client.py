"""Opens a layout on the user's tmux server. tmux only shows logs: no process of a run is its child.

Our session and panes are marked. The session's option `@launch_run` has the run's directory, each pane's option
`@launch_pane` has the layout that it was made for. Nothing else is touched, not even a pane that a user added to our
session.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

from libtmux import Server
from libtmux.common import get_version, has_gte_version

from launcher.borders.masking import is_secret
from launcher.borders.screen import in_one_line
from launcher.errors import UserError
from launcher.home import user_name
from launcher.view.tmux.layout import Layout, Window

Command = tuple[str, ...]

_OLDEST = "3.2"
_INSTALL = "apt install tmux, dnf install tmux or brew install tmux; --no-tmux does without"
PATIENCE = 2.0  # seconds in which a tmux server must answer: it may be stopped
_START = 15.0  # seconds for one that is started here: its configuration may load plugins
_LOOK = 1  # seconds
# `##{{` keeps tmux from filling the format in before the shell has run. What a shell in tmux prints would be shown.
_UNTIL_NOBODY = """exec >/dev/null 2>&1
while [ "$(tmux display-message -p -t {target} '##{{@launch_over}}')" = 1 ]; do
tmux if-shell -F -t {target} '##{{session_attached}}' '' "if-shell -F -t {target} '{others}' '{keep}' '{kill}'"
sleep {look}
done
true"""
_MESSAGE_LIMIT = 12_000  # bytes; tmux refuses a command line above 16 kB
_SMALLEST = (80, 24)
_FIELDS = "#{session_id} #{pane_id} #{pane_dead} #{?@launch_run,#{@launch_run},-} #{?@launch_pane,#{@launch_pane},-} #S"


class TmuxError(UserError):
    """There are no panes: tmux is missing, too old, or has refused. The run continues without panes."""


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
    patience = PATIENCE if panes else _START
    ours = [pane for pane in panes if pane.run == _run_mark(layout.root)]
    session = ours[0].session if ours else _free_name(layout.session, {pane.session for pane in panes})
    replaced = [pane.id for pane in ours if pane.layout != "-"]
    _run_chain(server, _commands(layout, session, new=not ours, replaced=replaced), patience)
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


def ensure_panes(layout: Layout, socket_name: str | None = None) -> str:
    """The name of the session that shows this layout. Closed panes are opened again.

    Raises:
        TmuxError: tmux is missing, too old, or has refused.
    """
    whole = (_run_mark(layout.root), _layout_mark(layout), "0")
    panes = _live_panes(tmux_server(socket_name))
    shown = [pane for pane in panes if (pane.run, pane.layout, pane.dead) == whole]
    if len(shown) == sum(len(window.panes) for window in layout.windows):
        return shown[0].session
    return open_panes(layout, socket_name)


def renew_panes(layout: Layout, socket_name: str | None = None) -> None:
    """Replace the run's panes by those of another attempt, if they are open. This never starts a server."""
    with suppress(TmuxError):
        if any(pane.run == _run_mark(layout.root) for pane in _live_panes(tmux_server(socket_name))):
            open_panes(layout, socket_name)


def set_status(session: str, text: str, socket_name: str | None = None) -> None:
    """Show a text at the right of the session's status line (4 ms). It is no error if the session is closed."""
    with suppress(TmuxError):
        ask_tmux(
            Server(socket_name=socket_name),
            *("set-option", "-t", f"={session}:", "status-right", _word(literal(text, is_status=True))),
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
        others="##{W:##{P:##{?@launch_pane,,1}}}",
        keep=f"set-option -t {target} @launch_over 0",
        kill=f"kill-session -t ={session}",
        look=_LOOK,
    )
    return (*over, ";", "run-shell", "-b", watch)


def tmux_server(socket_name: str | None) -> Server:
    """The user's tmux server, or the one of this socket. It may not be running.

    Raises:
        TmuxError: tmux is missing or too old.
    """
    if shutil.which("tmux") is None:
        raise TmuxError("tmux is not installed, so there are no panes", _INSTALL)
    if not has_gte_version(_OLDEST):
        raise TmuxError(f"tmux {get_version()} is too old for panes: {_OLDEST} or newer is needed", _INSTALL)
    return Server(socket_name=socket_name)


def ask_tmux(server: Server, *command: str, patience: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """Run tmux commands. Their result may be an error.

    Not by libtmux: it waits for ever if a server does not answer, and a server that it starts gets all variables.

    Raises:
        TmuxError: there was no answer within `patience` seconds.
    """
    _check_owner(server.socket_name)
    argv = ["tmux", *([f"-L{server.socket_name}"] if server.socket_name else []), *command]
    try:
        return subprocess.run(
            argv,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TmuxError(
            f"the tmux server has not answered within {patience:g}s, so there are no panes",
            "if it is stopped, wake it with: pkill -CONT tmux; --no-tmux does without",
        ) from None


def _check_owner(socket_name: str | None) -> None:
    """Raises TmuxError when the socket is another user's. That user's server would run our commands as that user."""
    path = _socket_path(socket_name)
    try:
        uid = path.stat().st_uid
    except (OSError, ValueError):  # there is none yet
        return
    if uid != os.geteuid():
        raise TmuxError(
            f"the tmux server at {in_one_line(str(path))} is of another user, {user_name(uid)}, so there are no panes",
            "use your own server with --tmux.socket-name, or no panes with --no-tmux",
        )


def _socket_path(socket_name: str | None) -> Path:
    """The socket as tmux finds it. Inside tmux, the default is the surrounding server."""
    around = os.environ.get("TMUX", "").partition(",")[0]
    if socket_name is None and around:
        return Path(around)
    directory = Path(os.environ.get("TMUX_TMPDIR") or "/tmp", f"tmux-{os.getuid()}")
    return directory / (socket_name or "default")


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
    for window in layout.windows:
        opening = _new_session(session, window) if new else ("new-window", "-t", target, "-n", literal(window.name))
        yield from _window_commands(window, target, mark, opening)
        new = False
    yield from _session_options(target, layout)
    yield from (("kill-pane", "-t", pane) for pane in replaced)
    yield ("move-window", "-r", "-t", target)
    yield ("select-window", "-t", f"{target}={layout.windows[0].name}")


def _new_session(session: str, window: Window) -> Command:
    columns, lines = shutil.get_terminal_size((200, 50))
    size = ("-x", str(max(columns, _SMALLEST[0])), "-y", str(max(lines, _SMALLEST[1])))
    return ("new-session", "-d", "-s", literal(session), "-n", literal(window.name), *size)


def _window_commands(window: Window, target: str, mark: str, opening: Command) -> Iterator[Command]:
    columns = 1 if len(window.panes) <= 2 else 2
    for number, pane in enumerate(window.panes):
        yield (*(_split(target, number, columns) if number else opening), "--", *pane.command)
        yield ("set-option", "-p", "-t", target, "@launch_pane", mark)
        yield ("select-pane", "-t", target, "-T", literal(pane.title))
        yield ("select-layout", "-t", target, "-E")
    yield ("select-pane", "-t", f"{target}.{{top-left}}")
    yield ("set-option", "-w", "-t", target, "pane-border-status", "top")
    # q/h doubles each `#`, so that a title cannot hold a format or a style.
    yield ("set-option", "-w", "-t", target, "pane-border-format", " #{q/h:pane_title} ")


def _split(target: str, number: int, columns: int) -> Command:
    """Makes room for a pane: beside the newest one, or in a new row across the window.

    Not by the layout `tiled`: of eight panes it has three in a row and two in the last. tmux takes the same number of
    columns from each pane of a row when the window shrinks, so at 80 columns one of these two was 6 columns wide.
    """
    row, column = divmod(number, columns)
    size = ("-h",) if column else ("-f", "-l", f"{100 // (row + 1)}%")
    return ("split-window", "-t", target, *size)


def _session_options(target: str, layout: Layout) -> Iterator[Command]:
    options = {
        "@launch_run": _run_mark(layout.root),
        "@launch_over": "0",  # see `closing`
        "destroy-unattached": "off",  # a user's global "on" would end the session before anybody attaches
        "status": "on",
        "status-left-length": "60",
        "status-right-length": "80",
        "status-right": literal(layout.session.removeprefix("launch-"), is_status=True),
    }
    for name, value in options.items():
        yield ("set-option", "-t", target, name, value)


def literal(text: str, *, is_status: bool = False) -> str:
    """Text as tmux shows it where it expands formats: names, titles and the status line get theirs through here.

    `#` would begin a format, or a command that tmux runs. It leaves `#[` alone; in the status line that is a style, and
    `%` a part of the time.
    """
    text = in_one_line(text)
    return text.replace("#", "##").replace("%", "%%") if is_status else re.sub(r"#(?!\[)", "##", text)


def _run_chain(server: Server, commands: Iterable[Command], patience: float) -> None:
    """Run commands in as few tmux calls as its message limit allows: one for a run of six panes."""
    for chain in _chains(commands):
        done = ask_tmux(server, *chain, patience=patience)
        if done.returncode != 0 or done.stderr:  # a server that cannot make its socket ends with 0
            raise TmuxError(f"tmux has refused: {done.stderr.strip()}")


def _chains(commands: Iterable[Command]) -> Iterator[list[str]]:
    chain: list[str] = []
    for command in commands:
        words = [_word(word) for word in command]
        if chain and sum(len(os.fsencode(word)) + 1 for word in [*chain, *words]) > _MESSAGE_LIMIT:
            yield chain
            chain = []
        chain += [";", *words] if chain else words
    if chain:
        yield chain


def _word(word: str) -> str:
    """One argument that tmux takes literally: a `;` at its end would begin another command."""
    return f"{word[:-1]}\\;" if word.endswith(";") else word


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LAUNCH_") and not is_secret(name)}
