"""Makes docs/panes.svg from a real run, as a person who attaches to it sees it.

    python docs/make_panes_picture.py [--step N] [--output FILE] [-- COMMAND…]

COMMAND is `launch rl` by default. It runs in a temporary directory with a tmux server of its own, until the status line
shows step N; then one screen is taken with its colours and drawn by rich, and the run is stopped.
"""

import argparse
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.text import Text

Found = TypeVar("Found")

COLUMNS, LINES = 160, 40
NAME = "calm-otter"
TERMINAL = "picture"  # the socket of a second server, which plays the terminal that a person sits at
DEADLINE = 600.0  # seconds


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="panes-") as directory:
        isolate(Path(directory))
        command = [*arguments.command, "--name", NAME]
        with running(command, Path(directory)):
            attach_terminal()
            screen = wait_for(lambda: screen_at_step(arguments.step))
    arguments.output.write_text(drawn(screen, " ".join(arguments.command)), encoding="utf-8")
    print(f"{arguments.output}: {COLUMNS}x{LINES}, step {shown_step(screen)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=int, default=100, help="the step to wait for (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("panes.svg"), help="the picture")
    parser.add_argument("command", nargs="*", default=["launch", "rl"], help="what to run (default: launch rl)")
    return parser.parse_args()


def isolate(directory: Path) -> None:
    """No tmux server and no configuration of the user's takes part."""
    for name in ("TMUX", "TMUX_PANE"):
        os.environ.pop(name, None)
    os.environ.update(
        HOME=str(directory), TMUX_TMPDIR=str(directory), COLUMNS=str(COLUMNS), LINES=str(LINES), TERM="screen-256color"
    )


@contextmanager
def running(command: list[str], directory: Path) -> Iterator[None]:
    """The run, stopped at the end, and the tmux servers ended with it."""
    with (directory / "console").open("wb") as console:
        run = subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        wait_for(lambda: run.poll() is not None or session_is_there())
        yield
    except Exception:
        print((directory / "console").read_text(errors="replace"))
        raise
    finally:
        run.send_signal(signal.SIGINT)
        run.wait(DEADLINE)
        tmux("kill-server")
        tmux("-L", TERMINAL, "kill-server")


def session_is_there() -> bool:
    return tmux("has-session", "-t", f"=launch-{NAME}").returncode == 0


def attach_terminal() -> None:
    attach = ["--", "env", "-u", "TMUX", "launch", "attach", NAME]
    size = ["-x", str(COLUMNS), "-y", str(LINES)]
    tmux("-L", TERMINAL, "new-session", "-d", *size, *attach, ";", "set-option", "status", "off")


def screen_at_step(step: int) -> str:
    """The screen with its colours, once the status line shows this step; empty before."""
    screen = tmux("-L", TERMINAL, "capture-pane", "-e", "-p").stdout
    return screen if shown_step(screen) >= step else ""


def shown_step(screen: str) -> int:
    status_line = screen.rstrip("\n").rpartition("\n")[2]
    found = re.search(r"step (\d+)", status_line)
    return int(found[1]) if found else -1


def drawn(screen: str, title: str) -> str:
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="256")
        for line in screen.splitlines():
            console.print(Text.from_ansi(line), no_wrap=True, overflow="crop", crop=True)
        return console.export_svg(title=title)


def tmux(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["tmux", *command], capture_output=True, text=True, check=False)


def wait_for(probe: Callable[[], Found]) -> Found:
    end = time.monotonic() + DEADLINE
    while not (answer := probe()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {DEADLINE:.0f} s")
        time.sleep(0.05)
    return answer


if __name__ == "__main__":
    main()
