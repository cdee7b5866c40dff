"""Who sent a signal, in words."""

import os
import signal
import subprocess

import pytest

from launcher.processes.guard import command_line
from launcher.processes.sender import BY_KERNEL, Sender, command_text, sender_text
from tests.waiting import until

SI_USER = 0


@pytest.mark.parametrize(
    ("sender", "number", "text"),
    [
        (Sender(SI_USER, 4711, 1001, b"launch\0stop\0"), signal.SIGTERM, "pid 4711 (`launch stop`, uid 1001)"),
        (Sender(SI_USER, 4711, 1001), signal.SIGTERM, "pid 4711 (gone since, uid 1001)"),
        (Sender(SI_USER, 0, 0), signal.SIGTERM, "a process outside this container (uid 0)"),
        (Sender(BY_KERNEL, 0, 0), signal.SIGINT, "Ctrl-C at the terminal"),
        (Sender(BY_KERNEL, 0, 0), signal.SIGHUP, "the terminal, which has gone away"),
        (Sender(BY_KERNEL, 0, 0), signal.SIGTERM, "the kernel"),
        (Sender(-2, 77, 77), signal.SIGTERM, "an unknown sender"),
    ],
)
def test_the_sender_is_named(sender: Sender, number: signal.Signals, text: str) -> None:
    assert sender_text(number, sender) == text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["/venv/bin/python3.11", "/venv/bin/launch", "stop", "exp-lr3"], "launch stop exp-lr3"),
        (["/usr/bin/python3", "-c", "import os"], "python3 -c 'import os'"),
        (["/bin/bash"], "bash"),
        (["kill", "it's", "a b"], """kill 'it'"'"'s' 'a b'"""),
        (["tool", "--api-key=hunter2"], "tool '--api-key=***'"),
        (["tool", "\x1b[31m", "\n"], "tool '' '\\n'"),
        (["tool", "x" * 200], "tool " + "x" * 75 + "..."),
    ],
)
def test_a_command_is_shown_as_it_was_typed(words: list[str], text: str) -> None:
    assert command_text(b"".join(word.encode() + b"\0" for word in words)) == text


def test_a_command_line_is_read_whatever_the_process_is() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            until(lambda: command_line(process.pid) == b"sleep\x001000\0")  # in the middle of exec it has none
        finally:
            process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert command_line(process.pid) == b"sleep"
    assert command_line(process.pid) == b""
    assert command_line(0) == b""
