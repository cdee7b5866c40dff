"""What keys do to a run: the commands of `launch`, each in a process of its own, so that there is no second way."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    text: str  # stdout and stderr


def launch(*words: str) -> Outcome:
    """Run a command without a terminal, to its end."""
    done = subprocess.run(
        [*command(), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C and the end of `launch top` are not its own
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode(errors="replace"))


def launch_here(*words: str) -> Outcome:
    """Run a command that takes the terminal, such as `attach`. Only its errors are kept."""
    done = subprocess.run([*command(), *words], stderr=subprocess.PIPE, check=False)
    return Outcome(done.returncode, done.stderr.decode(errors="replace"))


def command() -> list[str]:
    """Never a module of the directory where we are."""
    script = Path(sys.executable).with_name("launch")
    return [str(script)] if script.is_file() else [sys.executable, "-P", "-m", "launcher"]
