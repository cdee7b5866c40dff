"""Who sent a signal, from the kernel's siginfo, in words."""

import shlex
import signal
from dataclasses import dataclass
from pathlib import PurePath

from launcher.borders.masking import masked_words
from launcher.borders.screen import in_one_line

BY_KERNEL = 0x80  # si_code SI_KERNEL
BY_PROCESS = (0, -1, -6)  # si_code SI_USER, SI_QUEUE, SI_TKILL: these have a pid and a uid
LONGEST = 80  # characters of a command line
_AT_THE_TERMINAL = {
    signal.SIGINT: "Ctrl-C at the terminal",
    signal.SIGQUIT: "Ctrl-\\ at the terminal",
    signal.SIGHUP: "the terminal, which has gone away",
}


@dataclass(frozen=True)
class Sender:
    """Where a signal came from."""

    code: int  # si_code
    pid: int  # 0: outside this container
    uid: int
    command: bytes = b""  # as in /proc/PID/cmdline; empty if the process was gone too soon

    @property
    def is_a_process(self) -> bool:
        return self.code in BY_PROCESS


def sender_text(number: signal.Signals, sender: Sender) -> str:
    """ "pid 4711 (`launch stop`, uid 1001)", "Ctrl-C at the terminal"."""
    if not sender.is_a_process:
        return _AT_THE_TERMINAL.get(number, "the kernel") if sender.code == BY_KERNEL else "an unknown sender"
    if sender.pid == 0:
        return f"a process outside this container (uid {sender.uid})"
    command = command_text(sender.command)
    return f"pid {sender.pid} ({f'`{command}`' if command else 'gone since'}, uid {sender.uid})"


def command_text(command: bytes) -> str:
    """A command line as a user types it: without interpreter, program directory and secrets."""
    words = masked_words(command.decode(errors="replace").rstrip("\0").split("\0"))
    if len(words) > 1 and PurePath(words[0]).name.startswith("python") and not words[1].startswith("-"):
        words = words[1:]
    text = shlex.join([PurePath(words[0]).name, *words[1:]]) if words[0] else ""
    text = in_one_line(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
