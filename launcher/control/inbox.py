"""The supervisor's end: a Unix socket in the run's directory. The kernel says who asks.

Only the run's own user and root are heard. A request is one line on a connection of its own; the policy decides, and
the answer is a line as well.
"""

import asyncio
import os
import signal
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from launcher.borders.files import open_directory
from launcher.control.messages import LONGEST, Reply, Request
from launcher.nodes.messages import LookAt
from launcher.processes.guard import command_line
from launcher.processes.sender import Sender, sender_text
from launcher.rundir import RunDir

MOST = 16  # connections at a time
PATIENCE = 5.0  # seconds that a request may take to come
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid

Asked = Callable[[int, str, str], None]
"""Called with the number of a request, the component to restart, and who asks."""

Look = Callable[[LookAt], Coroutine[Any, Any, tuple[str, ...]]]
"""Looks at the processes of the other nodes."""


async def _no_looks(at: LookAt) -> tuple[str, ...]:
    return ()


@dataclass
class _Caller:
    connection: socket.socket
    by: str
    text: bytes = field(default=b"", repr=False)


class Inbox:
    """Calls `asked` in the loop for each request, which is answered later by its number."""

    def __init__(self, run: RunDir, asked: Asked, look: Look = _no_looks) -> None:
        self._run, self._asked, self._look = run, asked, look
        self._looking: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._callers: dict[int, _Caller] = {}
        self._count = 0

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Raises OSError where there can be no socket: some file systems have none."""
        self._loop = loop
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            directory = open_directory(self._run.own)
            try:
                with suppress(FileNotFoundError):  # of an earlier supervisor: we hold the run's lock
                    os.unlink(self._run.control.name, dir_fd=directory)
                listener.bind(f"/proc/self/fd/{directory}/{self._run.control.name}")  # a path has at most 107 bytes
            finally:
                os.close(directory)
            listener.listen(MOST)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        loop.add_reader(listener, self._accept)

    def answer(self, request: int, refusal: str | None) -> None:
        caller = self._callers.get(request)
        if caller:
            with suppress(OSError):  # it has gone away
                caller.connection.send(Reply(refusal=refusal).model_dump_json().encode() + b"\n")
            self._hang_up(request)

    def close(self) -> None:
        """The run has ended. What is not answered never will be."""
        for task in self._looking:
            task.cancel()
        for number in tuple(self._callers):
            self._hang_up(number)
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            with suppress(OSError):
                self._run.control.unlink()

    # --- one caller ---

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        pid, uid = peer(connection)
        if uid not in (os.geteuid(), 0) or len(self._callers) >= MOST:
            connection.close()
            return
        self._count += 1
        number = self._count
        by = sender_text(signal.SIGTERM, Sender(0, pid, uid, command_line(pid)))
        self._callers[number] = _Caller(connection, by)
        self._loop.add_reader(connection, self._read, number)
        self._loop.call_later(PATIENCE, self._give_up, number)

    def _read(self, number: int) -> None:
        caller = self._callers[number]
        try:
            block = caller.connection.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError:
            block = b""
        caller.text += block
        if not block or len(caller.text) > LONGEST:
            self._hang_up(number)
        elif b"\n" in caller.text:
            self._loop.remove_reader(caller.connection)
            self._take(number, caller)

    def _take(self, number: int, caller: _Caller) -> None:
        try:
            request = Request.model_validate_json(caller.text.partition(b"\n")[0])
        except ValidationError:
            self.answer(number, "this launch does not know this request")
            return
        if request.restart is not None:
            self._asked(number, request.restart, caller.by)
        elif request.look is not None:
            task = self._loop.create_task(self._answer_look(number, caller, request.look))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _answer_look(self, number: int, caller: _Caller, at: LookAt) -> None:
        reply = Reply(looks=await self._look(at))
        with suppress(OSError):  # it has gone away
            await self._loop.sock_sendall(caller.connection, reply.model_dump_json().encode() + b"\n")
        if number in self._callers:
            self._hang_up(number)

    def _give_up(self, number: int) -> None:
        caller = self._callers.get(number)
        if caller and b"\n" not in caller.text:
            self._hang_up(number)

    def _hang_up(self, number: int) -> None:
        connection = self._callers.pop(number).connection
        self._loop.remove_reader(connection)
        connection.close()


def peer(connection: socket.socket) -> tuple[int, int]:
    """pid and uid of the process at the other end; of a listener, those of the process that listens."""
    block = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(block)
    return pid, uid
