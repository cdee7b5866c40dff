"""The commands: parse, call, exit code. Whatever one needs is imported when it is called."""

import inspect
import json
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from launcher.errors import UserError
from launcher.screen import in_one_line, quoted

if TYPE_CHECKING:
    from launcher.config.command import Request
    from launcher.config.run import RLConfig, SFTConfig


# --- launch rl, launch sft --------------------------------------------------------------------------------------------


def start(
    request: "Request[RLConfig] | Request[SFTConfig]", dry_run: bool, clean: bool, detach: bool, trust: bool
) -> int:
    """`launch rl` and `launch sft`."""
    from launcher.requests import start

    return start(request, dry_run, clean, detach, trust)


_RUN_OPTIONS = {
    "dry_run": "print the complete plan and start nothing",
    "detach": "start, leave it running without a terminal, give the prompt back",
    "clean": "replace the run that the output directory holds",
    "trust": "act on a run's directory though others own it or may write there",
}


def _config_command(kind: str, run: Callable[..., int], help: str, options: Iterable[str]) -> Any:
    """A command with an option for each field of the kind's configuration, and some of those above."""
    from launcher.config.command import config_command
    from launcher.config.run import RLConfig, SFTConfig

    more = [_flag(name, _RUN_OPTIONS[name]) for name in options]
    model: type[RLConfig] | type[SFTConfig] = RLConfig if kind == "rl" else SFTConfig
    return config_command(model, run, help, more)


def _flag(name: str, help: str) -> inspect.Parameter:
    option = typer.Option(f"--{name.replace('_', '-')}", help=help)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option])


# --- launch resume ----------------------------------------------------------------------------------------------------


class _AsTyped(TyperCommand):
    """Leaves the whole command line in `ctx.args`, its `--` included."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        typed = list(args)
        super().parse_args(ctx, args)
        ctx.args = typed
        return typed


def resume(ctx: typer.Context) -> int:
    """launch resume [RUN] [OPTIONS]: the next attempt of a run, from its newest complete checkpoint.

    RUN is a run's name, the beginning of it, or its directory; without it the only unfinished run below ./outputs.
    OPTIONS are those of launch rl or launch sft, over the run's own config.toml: what that says is executed.
    """
    from launcher.requests import go_on
    from launcher.run.choice import find_run
    from launcher.run.jobs import settled, submitted
    from launcher.run.trust import check_trusted

    arguments = list(ctx.args)
    name = arguments.pop(0) if arguments and arguments[0][:1] not in ("-", "@") else None
    run, state = find_run(name, "resume")

    def call(request: "Request[RLConfig] | Request[SFTConfig]", dry_run: bool, detach: bool, trust: bool) -> int:
        check_trusted(run, state.name, "resume", trust)
        return go_on(request, run, settled(run, submitted(run, state)), dry_run, detach, trust)

    command = _config_command(state.kind, call, resume.__doc__ or "", ("dry_run", "detach", "trust"))
    return int(command.main(arguments, prog_name=f"launch resume {state.name}", standalone_mode=False))


# --- launch stop ------------------------------------------------------------------------------------------------------

NAMED = "a run's name, the beginning of it, or its directory"
RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help=f"{NAMED}; default: the newest below ./outputs, a living one first"),
]

TrustOption = Annotated[bool, typer.Option("--trust", help=_RUN_OPTIONS["trust"])]


def stop(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help=f"{NAMED}; default: the only living one below ./outputs")
    ] = None,
    grace: Annotated[str | None, typer.Option(help="how long it may take; default: the run's own grace")] = None,
    now: Annotated[bool, typer.Option("--now", help="do not ask, kill")] = False,
    trust: TrustOption = False,
) -> int:
    """Ask a run to end, and wait until nothing of it is left; a run that has ended is no error."""
    from launcher.run.choice import find_run
    from launcher.run.jobs import ask_for, known_state, stop_job
    from launcher.run.liveness import GOING_ON, of_this_host
    from launcher.run.stop import check_mine
    from launcher.run.stop import stop as stop_run
    from launcher.run.trust import check_trusted

    seconds = None if grace is None else _grace(grace)
    found, state = find_run(run, "stop")
    found, state = (found, state) if state.slurm else of_this_host(found, state)
    check_mine(found, state)
    check_trusted(found, state.name, "stop", trust)
    if known_state(found, state, ask_for([state])).word in GOING_ON:
        print(in_one_line(f"stopping {state.name} ..."), flush=True)
    after = stop_job(found, state, seconds, now) if state.slurm else stop_run(found, seconds, now)
    print(in_one_line(f"{state.name}: {known_state(found, after, ask_for([after])).word}, nothing of it is left"))
    return 0


def _grace(text: str) -> float:
    from launcher.config.base import parse_duration

    try:
        seconds = float(parse_duration(text))
    except ValueError as error:
        raise UserError(f"--grace {text}: {error}") from None
    if seconds < 0:
        raise UserError(f"--grace {text}: must not be negative")
    return seconds


# --- launch attach ----------------------------------------------------------------------------------------------------


def attach(
    run: RunArgument = None,
    window: Annotated[str | None, typer.Option(help="the window to show: logs, ranks, launcher, metrics")] = None,
    trust: TrustOption = False,
) -> int:
    """Attach to a run's tmux panes; they are opened again if they were closed, also for a run that has ended."""
    from launcher.registry import call_name
    from launcher.run.choice import find_run
    from launcher.run.liveness import GOING_ON, true_state
    from launcher.run.trust import check_trusted
    from launcher.view.attach import attach as attach_to
    from launcher.view.panes import layout_of, show_status
    from launcher.view.tmux import ensure_panes

    found, state = find_run(run, "attach")
    check_trusted(found, state.name, "attach", trust)
    session = ensure_panes(layout_of(found, state), state.tmux_socket)
    show_status(found, state, session)
    closes = not state.tmux_keep and true_state(found, state) not in GOING_ON
    attach_to(session, call_name(found.root, state.name), state.tmux_socket, window, closes=closes)
    return 0


# --- launch status ----------------------------------------------------------------------------------------------------


def status(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help=f"{NAMED}; default: all those below ./outputs")
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="the runs elsewhere, too, each with its directory")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for programs; docs/status.md says what is in it")] = False,
) -> int:
    """Show the runs of this project in a table, or one in full; whether a run is alive is checked, not believed."""
    from dataclasses import asdict

    from launcher.run.choice import find_run
    from launcher.view.status import run_details
    from launcher.view.status_page import run_page
    from launcher.view.terminal import shows_colours

    if run is None:
        return _status_of_all(everywhere, as_json)
    if everywhere:
        raise UserError(f"--all shows every run, and {run} is one of them", "leave one of the two out")
    found, state = find_run(run, "status")
    details = run_details(found, state)
    print(json.dumps(asdict(details), indent=1) if as_json else run_page(state, details, shows_colours()))
    return 0


def _status_of_all(everywhere: bool, as_json: bool) -> int:
    from dataclasses import asdict

    from launcher.view.status import all_runs
    from launcher.view.status_table import runs_screen, unreadable_lines

    runs = all_runs(everywhere)
    if not as_json:
        print(runs_screen(runs, everywhere))
        return 0
    print(json.dumps([asdict(each) for each in runs.shown], indent=1))
    for line in unreadable_lines(runs):
        print(line, file=sys.stderr)
    return 0


# --- launch stacks ----------------------------------------------------------------------------------------------------


def stacks(
    run: RunArgument = None,
    rank: Annotated[int | None, typer.Option(help="this rank alone, and what is below it")] = None,
    threads: Annotated[bool, typer.Option("--threads", help="the other threads in full, too")] = False,
) -> int:
    """Show where every Python process of a run stands, and which collective a rank never came to; for a hang."""
    import time

    from launcher.run.choice import find_run
    from launcher.run.collectives import collective_lines
    from launcher.run.liveness import of_this_host
    from launcher.run.ptrace import advice
    from launcher.run.recorders import read_recorders
    from launcher.run.stacks import REFUSED, take_stacks
    from launcher.view.stacks import stacks_text

    found, state = of_this_host(*find_run(run, "stacks"))
    taken = take_stacks(found, state, rank)
    collectives = collective_lines(read_recorders(found, state), time.time()) if rank is None else []
    print(stacks_text(taken, collectives, every_thread=threads), end="")
    troubles = {stack.trouble for stack in taken if stack.trouble}
    if REFUSED in troubles:
        print(f"\n{advice(f'stacks {quoted(str(found.root))}')}")
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
    every_line: Annotated[
        bool, typer.Option("--every-line", help="also lines that several ranks have logged alike")
    ] = False,
) -> int:
    """The logs of all components and ranks, merged in time order; coloured on a terminal, plain in a pipe."""
    from launcher.view.log_request import LogRequest, select
    from launcher.view.logs import show_logs

    request = LogRequest(run, component, tuple(rank or ()), attempt, level, since, grep)
    show_logs(select(request), follow=follow, labels=labels, every_line=every_line)
    return 0


# --- launch doctor ----------------------------------------------------------------------------------------------------


def doctor(as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False) -> int:
    """Say what this machine offers and lacks for a run, and what mends it; exit code 1 if none could start here."""
    from dataclasses import asdict

    from launcher.run.doctor import examine
    from launcher.view.doctor import check_tmux, doctor_text

    checks = [*examine(), check_tmux()]
    text = json.dumps([asdict(check) for check in checks], indent=1) + "\n" if as_json else doctor_text(checks)
    sys.stdout.write(text)
    return 1 if any(check.state == "fail" for check in checks) else 0


# --- by name ----------------------------------------------------------------------------------------------------------


def command(name: str, help: str) -> Any:
    """The Typer command of this name; `help` says in a line what it does."""
    if name in ("rl", "sft"):
        return _config_command(name, start, f"launch {name}: {help}", _RUN_OPTIONS)
    functions: dict[str, Callable[..., int]] = {
        "resume": resume,
        "attach": attach,
        "status": status,
        "logs": logs,
        "stop": stop,
        "stacks": stacks,
        "doctor": doctor,
    }
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    settings: dict[str, Any] = {"help_option_names": ["--help", "-h"]}
    kind = TyperCommand
    if name == "resume":  # its options depend on the run that it finds
        kind = _AsTyped
        settings |= {"ignore_unknown_options": True, "allow_extra_args": True}
    single.command(cls=kind, context_settings=settings)(functions[name])
    return typer.main.get_command(single)
