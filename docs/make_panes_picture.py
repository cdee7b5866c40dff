"""Makes docs/panes.svg from a real run, as a person who attaches to it sees it, or docs/live-view.svg of its console.

    python docs/make_panes_picture.py [--live-view] [--step N] [--output FILE] [-- COMMAND…]
    python docs/make_panes_picture.py --failure

COMMAND is `launch rl` by default. It runs in a temporary directory with a tmux server of its own, until it has made N
steps; then one screen is taken with its colours and drawn by rich, and the run is stopped. `--failure` makes
docs/failure.svg: four ranks, one of which raises an error in the forward pass.
"""

import argparse
import os
import re
import shlex
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

SIZES = {"panes": (160, 40), "live-view": (100, 26), "failure": (100, 22)}  # columns, lines
FAILING = """import torch
import torch.distributed as dist


def forward(tokens: torch.Tensor, context: int = 2048) -> torch.Tensor:
    if len(tokens) > context:
        raise ValueError(f"a sequence of {len(tokens)} tokens does not fit the context of {context}")
    return tokens.float().mean()


dist.init_process_group("gloo")
for step in range(1, 1000):
    long = step == 20 and dist.get_rank() == 2
    loss = forward(torch.zeros(2049 if long else 2048))
    dist.all_reduce(loss)
"""
NAME = "calm-otter"
TERMINAL = "picture"  # the socket of a second server, which plays the terminal that a person sits at
DEADLINE = 600.0  # seconds


def main() -> None:
    arguments = parse_arguments()
    what = "live-view" if arguments.live_view else "failure" if arguments.failure else "panes"
    output, size = arguments.output or Path(__file__).with_name(f"{what}.svg"), SIZES[what]
    with tempfile.TemporaryDirectory(prefix="panes-") as directory:
        isolate(Path(directory), size)
        command = [*arguments.command, "--name", NAME]
        if arguments.failure:
            arguments.command = ["launch", "sft", "--nproc", "4", "--trainer.script", "train.py"]
            screen = screen_of_failure([*arguments.command, "--name", NAME], Path(directory), size)
        elif arguments.live_view:
            screen = screen_of(command, Path(directory), size, arguments.step)
        else:
            with running(command, Path(directory)):
                open_terminal(["env", "-u", "TMUX", "launch", "attach", NAME], Path(directory), size)
                screen = wait_for(lambda: screen_at_step(arguments.step))
    output.write_text(drawn(screen, " ".join(arguments.command), size[0]), encoding="utf-8")
    print(f"{output}: {size[0]}x{size[1]}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=int, default=100, help="the step to wait for (default: %(default)s)")
    parser.add_argument("--live-view", action="store_true", help="the console instead of the panes")
    parser.add_argument("--failure", action="store_true", help="the console of a run whose rank 2 has failed")
    parser.add_argument("--output", type=Path, help="the picture (default: docs/panes.svg, live-view.svg, failure.svg)")
    parser.add_argument("command", nargs="*", default=["launch", "rl"], help="what to run (default: launch rl)")
    return parser.parse_args()


def isolate(directory: Path, size: tuple[int, int]) -> None:
    """No tmux server and no configuration of the user's takes part."""
    for name in ("TMUX", "TMUX_PANE"):
        os.environ.pop(name, None)
    os.environ.update(
        HOME=str(directory),
        TMUX_TMPDIR=str(directory),
        COLUMNS=str(size[0]),
        LINES=str(size[1]),
        TERM="screen-256color",
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


def open_terminal(command: list[str], directory: Path, size: tuple[int, int]) -> None:
    where = ["-c", str(directory), "-x", str(size[0]), "-y", str(size[1])]
    tmux("-L", TERMINAL, "new-session", "-d", *where, "--", *command, ";", "set-option", "status", "off")


def screen_of(command: list[str], directory: Path, size: tuple[int, int], step: int) -> str:
    """The console of a run that is typed in the terminal."""
    try:
        open_terminal(["env", "-u", "TMUX", *command], directory, size)  # its panes are on a server of their own
        return wait_for(lambda: screen_at_step(step))
    finally:
        subprocess.run(["launch", "stop", NAME, "--now"], cwd=directory, capture_output=True, check=False)
        tmux("kill-server")
        tmux("-L", TERMINAL, "kill-server")


def screen_of_failure(command: list[str], directory: Path, size: tuple[int, int]) -> str:
    """The console at the end of a run that fails, with a path that tells nothing of this machine."""
    (directory / "train.py").write_text(FAILING)
    try:
        typed = f"{shlex.join([*command, '--no-tmux'])}; exec sleep {DEADLINE:.0f}"
        open_terminal(["sh", "-c", typed], directory, size)
        return wait_for(lambda: screen_with(f"launch resume {NAME}")).replace(str(directory), "/home/you/project")
    finally:
        tmux("-L", TERMINAL, "kill-server")


def screen_with(text: str) -> str:
    """The screen with its colours, once this text is there; empty before."""
    screen = tmux("-L", TERMINAL, "capture-pane", "-e", "-p").stdout
    return screen if text in screen else ""


def screen_at_step(step: int) -> str:
    """The screen with its colours, once it shows this step; empty before."""
    screen = screen_with("step")
    return screen if shown_step(screen) >= step else ""


def shown_step(screen: str) -> int:
    """The step in the status line below the panes, or above the bar of the live view."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", screen).rstrip()
    found = re.search(r"step (\d+)", plain.rpartition("\n")[2]) or re.search(r"^ *step (\d+)/", plain, re.MULTILINE)
    return int(found[1]) if found else -1


def drawn(screen: str, title: str, columns: int) -> str:
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=columns, file=nowhere, force_terminal=True, color_system="256")
        for line in Text.from_ansi(screen.rstrip("\n")).split("\n", allow_blank=True):  # a colour may last over lines
            console.print(line, no_wrap=True, overflow="crop", crop=True)
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
