"""The `launch` script. It knows its commands by name, and loads one only when it is called."""

import gc
import os
import signal
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Any

COMMANDS = {  # each is a module of launcher.commands, or of its folder `starting`
    "rl": "trainer (under torchrun) + orchestrator + inference",
    "sft": "the trainer alone, under torchrun",
    "train": "any program under torchrun: launch train train.py --lr 1e-4",
    "resume": "the next attempt of a run, from its newest checkpoint",
    "attach": "attach to a run's tmux panes",
    "status": "the runs, or one in full",
    "top": "all runs full-screen; in one its ranks, curve, logs and stacks",
    "logs": "the logs of all components and ranks, in time order",
    "config": "the resolved configuration, and where each value was set",
    "diff": "what two runs differ in, and their metrics side by side",
    "samples": "what the model was asked in a step, what it said, the rewards",
    "checkpoint": "have a live run write a checkpoint now",
    "restart": "restart inference or a service of a live run, alone",
    "stop": "ask a run to end, wait until its processes are gone",
    "clean": "which old runs may go and how much they take; --delete",
    "export": "one archive for a bug report, secrets masked",
    "stacks": "the Python stack of every process of a run, for a hang",
    "doctor": "what this machine has and lacks for a run",
}

if os.environ.get("_LAUNCH_COMPLETE"):  # somebody has pressed Tab, and Typer alone takes 0.1 s to load
    from launcher.completion.answer import answer

    sys.exit(answer(COMMANDS, os.environ["_LAUNCH_COMPLETE"]))

import typer
from typer.core import TyperGroup
from typer.exceptions import Abort, TyperException

from launcher.borders.help_style import styled
from launcher.borders.screen import printable, quoted
from launcher.borders.streams import prepare_streams, trouble_with_stdout
from launcher.errors import NotNow, UserError

_STARTING = ("rl", "sft", "train", "resume")

GARBAGE = 50_000  # new objects until a collection: imports make many and none is garbage, and collecting took 100 ms

_MEANT = {  # what other programs call it
    **dict.fromkeys(("ps", "ls", "list", "runs", "show", "info", "progress", "watch"), "status"),
    **dict.fromkeys(("htop", "nvitop", "ui", "tui", "dashboard"), "top"),
    **dict.fromkeys(("kill", "cancel", "terminate", "end", "down", "abort", "scancel"), "stop"),
    **dict.fromkeys(("continue", "retry", "rerun", "again"), "resume"),
    **dict.fromkeys(("log", "tail", "output"), "logs"),
    **dict.fromkeys(("tmux", "join", "panes", "enter"), "attach"),
    **dict.fromkeys(("stack", "trace", "py-spy", "hang", "debug"), "stacks"),
    **dict.fromkeys(("cfg", "conf", "configuration", "settings", "schema"), "config"),
    **dict.fromkeys(("save", "snapshot"), "checkpoint"),
    **dict.fromkeys(("compare", "cmp", "vs"), "diff"),
    **dict.fromkeys(("rm", "remove", "delete", "prune", "gc", "du"), "clean"),
    **dict.fromkeys(("check", "env", "diagnose", "gpus"), "doctor"),
    **dict.fromkeys(("finetune", "fine-tune"), "sft"),
    **dict.fromkeys(("torchrun", "run", "start", "accelerate"), "train"),
    **dict.fromkeys(("grpo", "ppo", "rlhf"), "rl"),
}

HELP = """Start, watch, stop and diagnose RL and SFT runs.

  launch rl --nproc 8 --wandb   trainer, orchestrator, inference, in tmux panes
  launch sft --filter-rank 0    a trainer under torchrun, rank 0 on the console
  launch attach                 look at the panes
"""


def main() -> None:
    """The entry point of the `launch` script."""
    gc.set_threshold(GARBAGE)
    if os.getpid() == 1:  # of a container: the kernel drops a SIGTERM that the first process has no handler for
        signal.signal(signal.SIGTERM, _end)
    prepare_streams()
    _say_at_once(sys.argv[1:])
    sys.exit(_exit_code(sys.argv[1:] or ["--help"]))


def _end(number: int, _: object) -> None:
    sys.exit(128 + number)


def _say_at_once(arguments: list[str]) -> None:
    """A start imports for a while before its first line, which then takes the place of this word."""
    is_quick = any(word.startswith(("--help", "--dry-run", "-h")) for word in arguments)
    if arguments[:1] and arguments[0] in _STARTING and not is_quick and sys.stdout.isatty():
        print("starting", end="\r", flush=True)


def _exit_code(arguments: list[str]) -> Any:
    try:
        code = _without_typer(arguments) if arguments[0] in _SPECIAL else _run(arguments)
    except (UserError, TyperException) as error:
        print(printable(f"launch: {_message(error)}"), file=sys.stderr)
        code = 75 if isinstance(error, NotNow) and _is_a_job() else 2  # EX_TEMPFAIL: Kubernetes may start the job anew
    except (KeyboardInterrupt, Abort):
        code = 130
    except SystemExit as end:  # Typer's answer to a reader that is gone
        trouble = trouble_with_stdout(writes=b"\n")
        return _without_stdout(trouble) if trouble else end.code
    except OSError as error:
        trouble = trouble_with_stdout(writes=b"\n")
        if trouble is None:
            return _short_of_something(error)
        return _without_stdout(trouble)
    trouble = trouble_with_stdout()
    return _without_stdout(trouble) if trouble else code


def _is_a_job() -> bool:
    from launcher.jobs.schedulers import own_job

    return own_job() is not None


def _message(error: UserError | TyperException) -> str:
    if isinstance(error, UserError):
        return str(error)
    from launcher.options.meant import usage_message

    return usage_message(error)


def _run(arguments: list[str]) -> Any:
    return app.main(arguments, prog_name="launch", standalone_mode=False)


_SPECIAL = ("--version", "--install-completion", "--show-completion")


def _without_typer(arguments: list[str]) -> int:
    """Not options of Typer's: those would import pydantic for every command."""
    if arguments[0] != "--version":
        from launcher.completion.install import completion

        return completion(arguments)
    from importlib.metadata import version

    print(f"launch {version('launch-rl')}")
    return 0


def _short_of_something(error: OSError) -> int:
    from launcher.machine.limits import shortage

    short = shortage(error)
    if short is None:
        raise error
    print(printable(f"launch: {short}"), file=sys.stderr)
    return 2


def _without_stdout(error: OSError) -> int:
    """The exit code when stdout fails. A closed pipe (`launch --help | head -1`) is not an error, a full disk is."""
    if isinstance(error, BrokenPipeError):
        return 0
    print(f"launch: stdout cannot be written: {error.strerror}", file=sys.stderr)
    return 1


def _as_train(words: list[str]) -> str | None:
    """What `launch train` would be given, if a program was typed without that: torchrun's words, or a script."""
    if words[:1] in (["python"], ["python3"], ["torchrun"]):
        words = words[1:]
    if not words or not (words[0].startswith("-") or words[0].endswith(".py")):
        return None
    is_program = words[0] in ("-m", "--module") or any(word.endswith(".py") for word in words)
    return " ".join(map(quoted, words)) if is_program else None


class Commands(TyperGroup):
    """Lists the commands by name, and loads one only when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            close = [_MEANT[cmd_name]] if cmd_name in _MEANT else get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f"did you mean launch {close[0]}?" if close else f"the commands are {', '.join(COMMANDS)}"
            raise UserError(f"{cmd_name} is not a command", hint)
        folder = "launcher.commands.starting" if cmd_name in _STARTING else "launcher.commands"
        return import_module(f"{folder}.{cmd_name}").command

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if meant := _as_train(args):
            raise UserError(f"{args[0]} is not a command", f"did you mean: launch train {meant}?")
        return super().parse_args(ctx, args)

    def get_help(self, ctx: Any) -> str:
        return styled(super().get_help(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(f"Usage: launch COMMAND [OPTIONS]\n\n{HELP}\nCommands:\n")
        width = max(map(len, COMMANDS)) + 2
        formatter.write("".join(f"  {name:<{width}}{text}\n" for name, text in COMMANDS.items()))
        formatter.write("\nlaunch COMMAND --help shows its options, launch --version the version.\n")
        formatter.write("launch --install-completion lets Tab complete runs, options and files.\n")


def _make_app() -> Any:
    group = typer.Typer(cls=Commands, add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    group.callback(context_settings={"help_option_names": ["--help", "-h"]})(lambda: None)
    return typer.main.get_command(group)


app = _make_app()
