"""Whatever stands in the files of a run, or is said by another node: no screen shows a control character of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher import cli
from launcher.borders.screen import printable
from launcher.doctor.check import Check
from launcher.doctor.text import doctor_text
from launcher.failure.failure import Failure
from launcher.plan.render import render
from launcher.rundir import RunDir
from launcher.runs.state import AttemptState, FailureState, ProcessState, RunState
from launcher.runs.state_file import first_state
from launcher.stacks.frames import Frame, PythonProcess, Stack, Thread
from launcher.stacks.text import stacks_text, verdict_lines
from launcher.supervisor.rules.actions import Stop
from launcher.supervisor.rules.events import NotStarted
from launcher.tracking.wandb_links import WandbLink
from launcher.view.console.event_log import describe
from launcher.view.report import failure_block, header
from launcher.view.status.model import Runs, run_details, run_status
from launcher.view.status.page import run_page
from launcher.view.status.table import runs_screen
from launcher.view.summary import summary
from launcher.view.tmux.server import literal
from tests.plans import machine, plan_of, sft
from tests.states import state_of

NASTY = "a\x1b]0;x\x07b\x9b31mc\u202ed\x1b[2Je\x7f\r\x1b[31m"
LINES = f"{NASTY}\n{NASTY}"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run with such text wherever it may stand: its directory, metrics, W&B's links and a log."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    run = RunDir(tmp_path / "outputs" / LINES)
    run.logs.mkdir(parents=True)
    run.all_metrics.mkdir()
    steps = [{"step": number, "loss": 1.0, NASTY: 0.5} for number in range(3)]
    run.metrics("trainer").write_text("".join(f"{json.dumps(step)}\n" for step in steps))
    directory = run.wandb / f"offline-run-{NASTY}"
    directory.mkdir(parents=True)
    WandbLink("trainer", LINES, NASTY, LINES, str(directory), (str(directory),)).write(run.wandb_link("trainer"))
    run.component_log("trainer").write_text(f"2026-11-23 03:10:02.123 | INFO    | {NASTY}\n{LINES}\n\u2067\n")
    run.state.write_text(failed(run).model_dump_json())
    return run


def failed(run: RunDir) -> RunState:
    processes = [ProcessState(name="trainer", log=run.component_log("trainer"), exit_code=1)]
    return state_of(run, name="otter", state="failed", exit_code=1, processes=processes)


def spoilt(state: RunState) -> RunState:
    """The state with such text in every string, also in those that no file can bring: the models would refuse them."""
    failure = FailureState(component="c", rank=0, what="w", cause="c", log=None, collateral=[], text="t", host="h")
    values = {"component": NASTY, "what": LINES, "cause": LINES, "collateral": [NASTY], "text": LINES, "host": NASTY}
    process = state.processes[0].model_copy(update={"name": LINES, "gpus": (NASTY,), "after": (NASTY,)})
    earlier = AttemptState(attempt=1, state="failed", started=1, ended=2, exit_code=1)
    return state.model_copy(
        update={
            "name": LINES,
            "host": NASTY,
            "reason": LINES,
            "failure": failure.model_copy(update=values),
            "processes": [*state.processes, process],
            "earlier": [earlier.model_copy(update={"reason": LINES})],
        }
    )


def check(text: str) -> None:
    assert "a" in text
    assert printable(text) == text


# --- pages ------------------------------------------------------------------------------------------------------------


def test_the_page_of_a_run_and_the_table_of_all(run: RunDir) -> None:
    state = spoilt(failed(run))
    check(run_page(state, run_details(run, state), colours=False))
    runs = Runs([run_status(run, state)], {run.state: LINES})
    check(runs_screen(runs))
    check(runs_screen(runs, everywhere=True))
    assert len(runs_screen(runs).splitlines()) == 4  # no line break of theirs is one


def test_what_stands_before_and_after_a_run_and_in_its_panes(run: RunDir) -> None:
    plan = plan_of(sft(), machine(), run.root)
    failure = Failure(NASTY, 0, LINES, LINES, run.component_log(NASTY), (NASTY,))
    check(header(plan, "launch-otter", [LINES]))
    check(failure_block(plan, failure))
    check(summary(plan, spoilt(first_state(plan, {}))))
    check(render(plan, Path("/here"), files_are_written=True))
    check(literal(LINES))
    check(literal(LINES, is_status=True))


def test_stacks_checks_and_events() -> None:
    process = PythonProcess(1, LINES)
    frames = (Frame(NASTY, f"/x/{LINES}.py", 3), Frame(LINES, NASTY, 4))
    stacks = [Stack(process, (Thread(NASTY, frames), Thread(LINES, frames[:1]))), Stack(process, trouble=LINES)]
    check(stacks_text(stacks, [NASTY], every_thread=True))
    check("\n".join(verdict_lines(stacks)))
    check(doctor_text([Check("rl", LINES, "fail", NASTY, NASTY)]))
    for happening in (Stop(LINES, 3.0), NotStarted(NASTY, LINES)):
        described = describe(happening)
        assert described
        check(described[1])


# --- commands, with a run.json that somebody has made -----------------------------------------------------------------


def every_string(values: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where strings are in nested values."""
    if isinstance(values, str):
        yield path
    entries = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in entries:
        yield from every_string(value, (*path, key))


def with_nasty(values: Any, path: tuple[str | int, ...]) -> str:
    values = json.loads(json.dumps(values))
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] += NASTY
    return json.dumps(values)


def test_no_command_shows_what_somebody_has_written_into_a_run_json(
    run: RunDir, capfd: pytest.CaptureFixture[str]
) -> None:
    failure = {"component": "trainer", "rank": 0, "what": "w", "cause": "c", "log": "/l", "collateral": ["x"]}
    values = json.loads(failed(run).model_dump_json())
    values |= {"reason": "r", "failure": failure | {"text": "t", "host": "h"}, "slurm": None}
    for path in every_string(values):
        run.state.write_text(with_nasty(values, path))
        for command in ["status"], ["status", str(run.root)], ["logs", str(run.root)], ["stop", str(run.root)]:
            cli._exit_code(command)
            shown = capfd.readouterr()
            assert shown.out + shown.err or command[0] == "logs"  # of a component that there is not
            assert printable(shown.out + shown.err) == shown.out + shown.err, (path, command)


def test_a_mistake_is_shown_without_what_was_typed_for_a_terminal(
    run: RunDir, capfd: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["status", f"x{NASTY}"],
        [NASTY],
        ["sft", f"--{NASTY}"],
        ["sft", "@", NASTY],
        ["stop", "--grace", NASTY],
    ):
        assert cli._exit_code(words) == 2
        check(capfd.readouterr().err)
