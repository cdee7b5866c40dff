"""Long output in the user's pager, as git shows it."""

import errno
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from launcher.borders.streams import trouble_with_stdout

_LESS = "FRX"  # ends by itself when all fits on the screen, keeps colours, leaves the text on the screen


@contextmanager
def paged(wanted: bool) -> Iterator[None]:
    """While this holds, stdout is the pager's input, if it is wanted, stdout is a terminal, and there is a pager."""
    command = _pager() if wanted and sys.stdin.isatty() and sys.stdout.isatty() else None
    if command is None:
        yield
        return
    environment = {"LESS": _LESS, **os.environ}
    before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is the pager's key; it must not inherit SIG_IGN
    pager = _start(command, environment)
    if pager is None:
        signal.signal(signal.SIGINT, before)
        yield
        return
    assert pager.stdin is not None
    sys.stdout.flush()
    terminal = os.dup(sys.stdout.fileno())
    os.dup2(pager.stdin.fileno(), sys.stdout.fileno())
    pager.stdin.close()
    try:
        with suppress(BrokenPipeError):  # the pager was left early
            yield
    finally:
        if trouble_with_stdout():
            sys.stdout.flush()  # to /dev/null: the rest must not reach the terminal
        os.dup2(terminal, sys.stdout.fileno())
        os.close(terminal)
        pager.wait()
        signal.signal(signal.SIGINT, before)


def _start(command: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes] | None":
    """As a shell would: a script without a shebang is one of sh. None if the system cannot start it at all."""
    for words in (command, ["/bin/sh", shutil.which(command[0]) or command[0], *command[1:]]):
        try:
            return subprocess.Popen(words, stdin=subprocess.PIPE, env=environment)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                return None
    return None


def _pager() -> list[str] | None:
    """$PAGER, by default less. An empty one, or cat, is none."""
    try:
        words = shlex.split(os.environ.get("PAGER", "less"))
    except ValueError:
        return None
    return words if words and words != ["cat"] and shutil.which(words[0]) else None
