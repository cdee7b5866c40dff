"""Sends commands to the user's own tmux server, with a time limit. tmux takes each word literally."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from libtmux import Server
from libtmux.common import get_version, has_gte_version

from launcher.borders.masking import is_secret
from launcher.borders.screen import in_one_line
from launcher.errors import UserError
from launcher.home import user_name

Command = tuple[str, ...]
_OLDEST = "3.2"
_INSTALL = "apt install tmux, dnf install tmux or brew install tmux; --no-tmux does without"
PATIENCE = 2.0  # seconds in which a tmux server must answer: it may be stopped
_MESSAGE_LIMIT = 12_000  # bytes; tmux refuses a command line above 16 kB


class TmuxError(UserError):
    """There are no panes: tmux is missing, too old, or has refused. The run continues without panes."""


class TmuxRefused(TmuxError):
    """tmux has answered with an error, such as that a session or a pane is not there any more."""


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


def socket_around() -> str | None:
    """The name of the server that this process is in, as `tmux -L` takes it. None if it is the default one, or none."""
    around = Path(os.environ.get("TMUX", "").partition(",")[0])
    usual = _socket_path(around.name or None)
    is_named = around.name not in ("", "default") and not around.name.startswith(".") and len(around.name) <= 64
    return around.name if is_named and around == usual and in_one_line(around.name) == around.name else None


def literal(text: str, *, is_status: bool = False) -> str:
    """Text as tmux shows it where it expands formats: names, titles and the status line get theirs through here.

    `#` would begin a format, or a command that tmux runs. It leaves `#[` alone; in the status line that is a style, and
    `%` a part of the time.
    """
    text = in_one_line(text)
    return text.replace("#", "##").replace("%", "%%") if is_status else re.sub(r"#(?!\[)", "##", text)


def run_chain(server: Server, commands: Iterable[Command], patience: float) -> None:
    """Run commands in as few tmux calls as its message limit allows: one for a run of six panes."""
    for chain in _chains(commands):
        done = ask_tmux(server, *chain, patience=patience)
        if done.returncode != 0 or done.stderr:  # a server that cannot make its socket ends with 0
            raise TmuxRefused(f"tmux has refused: {done.stderr.strip()}")


def _chains(commands: Iterable[Command]) -> Iterator[list[str]]:
    chain: list[str] = []
    for command in commands:
        words = [word_of(word) for word in command]
        if chain and sum(len(os.fsencode(word)) + 1 for word in [*chain, *words]) > _MESSAGE_LIMIT:
            yield chain
            chain = []
        chain += [";", *words] if chain else words
    if chain:
        yield chain


def word_of(word: str) -> str:
    """One argument that tmux takes literally: a `;` at its end would begin another command."""
    return f"{word[:-1]}\\;" if word.endswith(";") else word


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LAUNCH_") and not is_secret(name)}
