"""How a node reads what node 0 says."""

import socket
from threading import Thread

import pytest

from launcher.nodes.meeting import read_line
from launcher.nodes.seal import LONGEST_LINE


class Counted(socket.socket):
    """How often it was read."""

    reads = 0

    def recv(self, *arguments: int) -> bytes:
        self.reads += 1
        return super().recv(*arguments)

    def recv_into(self, *arguments: object) -> int:
        self.reads += 1
        return super().recv_into(*arguments)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def ends() -> tuple[socket.socket, Counted]:
    there, here = socket.socketpair()
    return there, Counted(fileno=here.detach())


def test_the_welcome_of_many_nodes_is_not_read_byte_by_byte(ends: tuple[socket.socket, Counted]) -> None:
    there, here = ends
    with there, here:
        there.sendall(b"x" * 5000 + b"\n")
        assert read_line(here) == b"x" * 5000
        assert here.reads < 10


def test_what_follows_the_welcome_is_not_taken_away(ends: tuple[socket.socket, Counted]) -> None:
    there, here = ends
    with there, here:
        there.sendall(b"welcome\nreport\n")
        assert read_line(here) == b"welcome"
        assert here.recv(100) == b"report\n"


@pytest.mark.parametrize(
    "said", [b"", b"half a line", b"x" * LONGEST_LINE + b"\n"], ids=["nothing", "half", "too long"]
)
def test_what_has_no_end_is_an_error(ends: tuple[socket.socket, Counted], said: bytes) -> None:
    there, here = ends
    with there, here:
        sender = Thread(target=lambda: (there.sendall(said), there.shutdown(socket.SHUT_WR)))
        sender.start()
        with pytest.raises(OSError, match="closed"):
            read_line(here)
        here.close()
        sender.join()
