"""A tmux server of a test's own: its sockets and its configuration are in a temporary directory."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import until


@dataclass(frozen=True)
class TmuxServer:
    """The server that `tmux` reaches in this test, or another one beside it."""

    home: Path
    socket: str = "default"

    def configure(self, text: str) -> None:
        """Be a user with this ~/.tmux.conf. Comes before the server starts."""
        (self.home / ".tmux.conf").write_text(text)

    def run(self, *command: str) -> str:
        """What the command prints; an error of tmux's fails the test."""
        done = subprocess.run(["tmux", "-L", self.socket, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")

    def open_terminal(self, *command: str, columns: int = 160, lines: int = 44) -> str:
        """A terminal that runs the command, by default a shell; the id of its pane."""
        size = ("-x", str(columns), "-y", str(lines))
        return self.run("new-session", "-d", *size, "-P", "-F", "#{pane_id}", "--", *(command or ("/bin/sh", "-i")))

    def panes(self, fields: str) -> list[str]:
        return self.run("list-panes", "-a", "-F", fields).splitlines()

    def screen(self, target: str, *options: str) -> str:
        """What the pane shows, wrapped lines joined again."""
        return self.run("capture-pane", "-p", "-J", *options, "-t", target)

    def wait_for_text(self, target: str, text: str, *options: str) -> str:
        """The screen, as soon as it has this text."""

        def screen_with_text() -> str:
            screen = self.screen(target, *options)
            return screen if text in screen else ""

        return until(screen_with_text)
