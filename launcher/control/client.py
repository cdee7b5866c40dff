"""The end of a command that asks the supervisor of a living run for something: `launch restart`, `launch stacks`."""

import os
import socket

from launcher.borders.files import open_directory
from launcher.borders.screen import quoted
from launcher.control.inbox import peer
from launcher.control.messages import LONGEST, LONGEST_LOOKS, Reply, Request
from launcher.errors import UserError
from launcher.processes.identity import identify
from launcher.processes.proof import proves_to_be_of
from launcher.rundir import RunDir
from launcher.runs.state import RunState

PATIENCE = 10.0  # seconds that the supervisor has for its answer


def ask(run: RunDir, state: RunState, request: Request, patience: float = PATIENCE) -> Reply:
    """Ask the run's supervisor. It must prove to be the one that run.json names.

    Raises UserError when nobody answers, or when somebody else does.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience)
        try:
            _connect(connection, run)
            _check(connection, run, state)
            connection.sendall(request.model_dump_json().encode() + b"\n")
            answer = _line(connection, LONGEST_LOOKS if request.look else LONGEST)
        except OSError as error:
            raise UserError(
                f"{state.name}: its supervisor cannot be asked: {error.strerror or error}",
                f"what it does is in {quoted(str(run.launcher_log))}",
            ) from None
    if not answer:
        raise UserError(f"{state.name}: its supervisor has ended meanwhile")
    try:
        return Reply.model_validate_json(answer)
    except ValueError:
        raise UserError(f"{state.name}: its supervisor's answer cannot be understood") from None


def _connect(connection: socket.socket, run: RunDir) -> None:
    directory = open_directory(run.own)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{run.control.name}")
    finally:
        os.close(directory)


def _check(connection: socket.socket, run: RunDir, state: RunState) -> None:
    pid, _ = peer(connection)
    listens = identify(pid) if pid > 0 else None
    if listens is None or listens != state.supervisor or not proves_to_be_of(run, listens):
        raise UserError(
            f"{state.name}: pid {pid} answers for it, which is not proven to be its supervisor",
            "nothing was asked of it",
        )


def _line(connection: socket.socket, longest: int) -> bytes:
    text = bytearray()
    while not text.endswith(b"\n") and len(text) <= longest:
        block = connection.recv(min(longest, 1 << 16))
        if not block:
            return b""
        text += block
    return bytes(text).partition(b"\n")[0]
