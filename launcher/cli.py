"""The commands: parse, call, exit code. Whatever a command needs is imported when it is called."""

import inspect
import os
import shlex
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import Abort, TyperException

from launcher.errors import UserError

if TYPE_CHECKING:
    from launcher.config.command import Request
    from launcher.config.run import RLConfig, RunConfig, SFTConfig

COMMANDS = {
    "rl": "trainer (under torchrun) + orchestrator + inference",
    "sft": "the trainer alone, under torchrun",
    "attach": "attach to a run's tmux panes",
    "logs": "the logs of all components and ranks, in time order",
    "stacks": "the Python stack of every process of a run, for a hang",
}

HELP = """Start, watch, stop and diagnose RL and SFT runs.

  launch rl --nproc 8 --wandb   trainer, orchestrator, inference, in tmux panes
  launch sft --filter-rank 0    a trainer under torchrun, rank 0 on the console
  launch attach                 look at the panes
"""


def main() -> None:
    """The entry point of the `launch` script."""
    try:
        sys.exit(app.main(prog_name="launch", standalone_mode=False))
    except (UserError, TyperException) as error:
        message = error.format_message() if isinstance(error, TyperException) else str(error)
        print(f"launch: {message}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, Abort):
        sys.exit(130)
    except BrokenPipeError:  # launch --help | head -1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


# --- launch rl, launch sft --------------------------------------------------------------------------------------------


def start(request: "Request[RLConfig] | Request[SFTConfig]", dry_run: bool, clean: bool) -> int:
    """`launch rl` and `launch sft`: load, probe, plan, then render or run."""
    from launcher.plan.build import make_plan
    from launcher.run.probe import check_programs, probe

    config = request.load()
    machine = probe(config)
    plan = make_plan(config, machine, *_name_and_directory(config))
    check_programs(plan, os.environ)
    if dry_run:
        return _show(plan, write=config.output_dir is not None, clean=clean)
    return _run(plan, config, clean)


def _name_and_directory(config: "RunConfig") -> tuple[Any, str]:
    from launcher.rundir import RunDir

    name = config.name
    while name is None:
        from coolname import generate_slug

        drawn = generate_slug(2)
        name = None if Path("outputs", drawn).exists() else drawn
    return RunDir(Path.cwd() / (config.output_dir or Path("outputs", name))), name


def _show(plan: Any, write: bool, clean: bool) -> int:
    from launcher.plan.render import render
    from launcher.run.prepare import check_free, prepare_by_hand

    if write:
        prepare_by_hand(plan, clean)
    else:
        check_free(plan.run, clean)
    sys.stdout.write(render(plan, Path.cwd(), files_are_written=write))
    return 0


def _run(plan: Any, config: "RunConfig", clean: bool) -> int:
    """Carry the plan out: everything from the run's directory to its summary."""
    from launcher.run.prepare import point_latest_at, prepare
    from launcher.run.provenance import provenance
    from launcher.run.split import split
    from launcher.run.state import StateFile, first_state, identify

    lock = prepare(plan, clean)
    state = StateFile(plan.run, first_state(plan, provenance()))
    note = _open_panes(plan, state.state, config)
    if config.output_dir is None:
        point_latest_at(plan.run)
    guard_pid = os.getpid()
    guard = split()
    os.set_inheritable(lock, False)
    state.state.guard, state.state.supervisor = identify(guard_pid), identify(os.getpid())
    return _supervise(plan, config, state, guard, note)


def _open_panes(plan: Any, state: Any, config: "RunConfig") -> str | None:
    """Open the run's panes; returns why there are none, if there should be."""
    if not config.tmux.enabled:
        return None
    from launcher.view.panes import layout_of
    from launcher.view.tmux import TmuxError, open_panes

    try:
        state.tmux_session = open_panes(layout_of(plan.run, state), config.tmux.socket_name)
        state.tmux_socket = config.tmux.socket_name
    except TmuxError as error:
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return None


def _supervise(plan: Any, config: "RunConfig", state: Any, guard: int, note: str | None) -> int:
    """What the supervisor does from its first moment to its last."""
    from launcher.logger import get_logger, log_to
    from launcher.registry import register
    from launcher.run.cause import find_cause
    from launcher.run.supervisor import supervise
    from launcher.view.console import Console
    from launcher.view.launcher_log import log_event
    from launcher.view.report import failure_block, failure_state, header, summary

    log_to(plan.run.launcher_log)
    state.state.state = "running"
    state.write_if_possible()
    register(plan.run.root)
    top = header(plan, state.state.tmux_session, [note] if note else [])
    console = Console(plan, top, lambda error: get_logger().info("the console is gone ({}); the run goes on", error))
    status = _status_line(plan, state.state)
    policy = supervise(plan, [log_event, state, console], guard, config.on_hangup == "stop")
    failure = find_cause(plan, policy)
    state.end(policy.state.value, policy.exit_code, failure_state(plan, failure))
    if status:
        status.close(policy.state.value)
    last_words = (failure_block(plan, failure) if failure else "") + summary(plan, policy, state.state.started)
    get_logger().info("{}", last_words)
    console.close(last_words)
    return policy.exit_code


def _status_line(plan: Any, state: Any) -> Any:
    if state.tmux_session is None:
        return None
    from launcher.view.panes import StatusLine

    return StatusLine(plan, state.tmux_session, state.tmux_socket)


_RUN_OPTIONS = (
    ("dry_run", "--dry-run", "print the complete plan and start nothing"),
    ("clean", "--clean", "replace the run that the output directory holds"),
)


def _start_command(kind: str) -> Any:
    """`launch rl` or `launch sft`, with an option for each field of its configuration."""
    from launcher.config.command import config_command
    from launcher.config.run import RLConfig, SFTConfig

    more = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option(flag, help=text)],
        )
        for name, flag, text in _RUN_OPTIONS
    ]
    model: type[RLConfig] | type[SFTConfig] = RLConfig if kind == "rl" else SFTConfig
    return config_command(model, start, f"launch {kind}: {COMMANDS[kind]}", more)


# --- launch attach ----------------------------------------------------------------------------------------------------

RunArgument = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="a run's name or directory; default: the newest")
]


def attach(
    run: RunArgument = None,
    window: Annotated[str | None, typer.Option(help="the window to show: logs, ranks, launcher")] = None,
) -> int:
    """Attach to a run's tmux panes; they are opened again if they were closed, also for a run that has ended."""
    from launcher.registry import find_run
    from launcher.run.state import read_state
    from launcher.rundir import RunDir
    from launcher.view.attach import attach as attach_to
    from launcher.view.panes import layout_of
    from launcher.view.tmux import ensure_panes

    root = find_run(run)
    state = read_state(RunDir(root))
    if state is None:
        raise UserError(f"{root}: run.json cannot be read")
    session = ensure_panes(layout_of(RunDir(root, state.attempt), state), state.tmux_socket)
    attach_to(session, state.tmux_socket, window)
    return 0


# --- launch stacks ----------------------------------------------------------------------------------------------------


def stacks(
    run: RunArgument = None,
    rank: Annotated[int | None, typer.Option(help="this local rank alone, and what is below it")] = None,
    threads: Annotated[bool, typer.Option("--threads", help="the other threads in full, too")] = False,
) -> int:
    """Show where every Python process of a run stands, those at the same place together; for a run that hangs."""
    from launcher.registry import find_run
    from launcher.run.ptrace import advice
    from launcher.run.stacks import REFUSED, take_stacks
    from launcher.run.state import read_state
    from launcher.rundir import RunDir
    from launcher.view.stacks import stacks_text

    root = find_run(run)
    state = read_state(RunDir(root))
    if state is None:
        raise UserError(f"{root}: run.json cannot be read")
    taken = take_stacks(RunDir(root, state.attempt), state, rank)
    print(stacks_text(taken, every_thread=threads), end="")
    troubles = {stack.trouble for stack in taken if stack.trouble}
    if REFUSED in troubles:
        print(f"\n{advice(shlex.join(['stacks', str(root)]))}")
    return 1 if troubles else 0


# --- launch logs ------------------------------------------------------------------------------------------------------


def logs(
    run: RunArgument = None,
    component: Annotated[str | None, typer.Argument(help="a component, or launcher; default: all")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="show new lines too, until the run has ended")] = False,
    rank: Annotated[list[int] | None, typer.Option(help="this rank alone; may be repeated")] = None,
    level: Annotated[str | None, typer.Option(help="this level and above: DEBUG, INFO, WARNING, ERROR …")] = None,
    attempt: Annotated[int | None, typer.Option(help="an earlier attempt; default: the newest")] = None,
    since: Annotated[str | None, typer.Option(help="for so long (10m), or since a time (14:30)")] = None,
    grep: Annotated[str | None, typer.Option(help="entries in which this regular expression is found")] = None,
    labels: Annotated[bool, typer.Option(help="say before each line whose it is")] = True,
) -> int:
    """The logs of all components and ranks, merged in time order; coloured on a terminal, plain in a pipe."""
    from launcher.view.log_request import LogRequest, select
    from launcher.view.logs import show_logs

    request = LogRequest(run, component, tuple(rank or ()), attempt, level, since, grep)
    show_logs(select(request), follow=follow, labels=labels)
    return 0


# --- the group --------------------------------------------------------------------------------------------------------


class Commands(TyperGroup):
    """Knows the commands by name, and makes one only when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in ("rl", "sft"):
            return _start_command(cmd_name)
        functions: dict[str, Callable[..., int]] = {"attach": attach, "logs": logs, "stacks": stacks}
        if cmd_name not in functions:
            close = get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f"did you mean launch {close[0]}?" if close else f"there are {', '.join(COMMANDS)}"
            raise UserError(f"{cmd_name} is no command", hint)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(context_settings={"help_option_names": ["--help", "-h"]})(functions[cmd_name])
        return typer.main.get_command(single)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(f"Usage: launch COMMAND [OPTIONS]\n\n{HELP}\nCommands:\n")
        width = max(map(len, COMMANDS)) + 2
        formatter.write("".join(f"  {name:<{width}}{text}\n" for name, text in COMMANDS.items()))
        formatter.write("\nlaunch COMMAND --help shows every option.\n")


def _make_app() -> Any:
    group = typer.Typer(cls=Commands, add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    group.callback(context_settings={"help_option_names": ["--help", "-h"]})(lambda: None)
    return typer.main.get_command(group)


app = _make_app()
