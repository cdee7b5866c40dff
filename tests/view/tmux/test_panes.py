"""The status line of a run's panes."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.plan.spec import Plan
from launcher.runs.state import RunState
from launcher.runs.state_file import first_state
from launcher.view.tmux.panes import PATIENCE, StatusLine, layout_of, renew, show_status, status_text
from launcher.view.tmux.session import open_panes
from tests.plans import plan_of, sft
from tests.tmux_server import TmuxServer
from tests.waiting import until

MARGIN = 8.0  # seconds, for a busy machine
NOON = time.mktime((2026, 11, 23, 12, 0, 0, 0, 0, -1))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    plan = plan_of(sft("--max-steps", "9"), root=tmp_path)
    plan.run.all_metrics.mkdir()
    plan.run.metrics("trainer").write_text('{"step": 4, "loss": 0.5}\n')
    return plan


def open_session(plan: Plan) -> tuple[RunState, str]:
    state = first_state(plan, {})
    return state, open_panes(layout_of(plan.run, state))


def status_line(tmux: TmuxServer, session: str) -> str:
    return tmux.run("show-options", "-v", "-t", session, "status-right")


def test_it_has_step_metric_with_three_digits_time_left_and_state(plan: Plan) -> None:
    assert status_text(plan.progress, [{"step": 4, "loss": 0.51234}], "running", 187.0) == (
        "step 4/9  loss 0.512  3m 07s left  running"
    )
    assert status_text(plan.progress, [], "starting") == "starting"


def test_it_follows_the_run_and_keeps_the_final_word(plan: Plan, tmux: TmuxServer) -> None:
    plan.run.metrics("trainer").unlink()
    state, session = open_session(plan)
    line = StatusLine(plan, session, None)
    until(lambda: status_line(tmux, session).startswith("starting"))
    plan.run.state.write_text(state.model_copy(update={"state": "running"}).model_dump_json())
    add_step(plan, 4)
    until(lambda: status_line(tmux, session).startswith("step 4/9  loss 0.5  running"))
    add_step(plan, 5)
    until(lambda: re.match(r"step 5/9  loss 0.5  [\dm ]+s left  running", status_line(tmux, session)))
    add_step(plan, 9)
    line.close("finished", keep=True)
    until(lambda: status_line(tmux, session).startswith("step 9/9  loss 0.5  finished"))  # close() waits 2 s at most


def test_a_step_is_in_the_status_line_within_a_second(plan: Plan, tmux: TmuxServer) -> None:
    _, session = open_session(plan)
    line = StatusLine(plan, session, None)
    until(lambda: status_line(tmux, session).startswith("step 4/9"))
    add_step(plan, 5)
    began = time.monotonic()
    until(lambda: status_line(tmux, session).startswith("step 5/9"))
    assert time.monotonic() - began < 1 + MARGIN
    line.close("finished", keep=True)


def test_panes_that_are_opened_after_the_run_have_its_final_word(plan: Plan, tmux: TmuxServer) -> None:
    state, session = open_session(plan)
    show_status(plan.run, state.model_copy(update={"state": "failed", "ended": NOON}), session)
    assert status_line(tmux, session).startswith("step 4/9  loss 0.5  failed")
    assert "12:00" in status_line(tmux, session)


def test_panes_of_a_run_that_died_do_not_say_that_it_runs(plan: Plan, tmux: TmuxServer) -> None:
    state, session = open_session(plan)
    show_status(plan.run, state.model_copy(update={"state": "running"}), session)
    assert status_line(tmux, session).startswith("step 4/9  loss 0.5  died")


def add_step(plan: Plan, number: int) -> None:
    with plan.run.metrics("trainer").open("a") as metrics:
        metrics.write(f'{{"step": {number}, "loss": 0.5}}\n')


@pytest.fixture
def stopped_server(plan: Plan, tmux: TmuxServer) -> Iterator[tuple[RunState, str]]:
    """The state and the session of a run whose tmux server does not answer."""
    state, session = open_session(plan)
    server = int(tmux.run("display-message", "-p", "#{pid}"))
    os.kill(server, signal.SIGSTOP)
    yield state.model_copy(update={"tmux_session": session}), session
    os.kill(server, signal.SIGCONT)
    for thread in threading.enumerate():
        if thread.name.startswith("tmux"):  # would go on with whatever server there is then
            thread.join(10)


def test_a_server_that_does_not_answer_holds_up_no_run_at_its_end(
    plan: Plan, stopped_server: tuple[RunState, str]
) -> None:
    line, began = StatusLine(plan, stopped_server[1], None), time.monotonic()
    line.close("finished", keep=True)
    assert time.monotonic() - began < PATIENCE + MARGIN


def test_a_server_that_does_not_answer_holds_up_no_new_attempt(
    plan: Plan, stopped_server: tuple[RunState, str]
) -> None:
    began = time.monotonic()
    renew(plan.run, stopped_server[0])
    assert time.monotonic() - began < PATIENCE + MARGIN


def test_a_pane_of_a_file_outside_the_logs_says_so_and_does_not_open_it(plan: Plan, tmp_path: Path) -> None:
    state = first_state(plan, {})
    (process,) = state.processes
    secret = tmp_path / "secret"
    secret.write_text("secret")
    process.log.parent.mkdir(parents=True)
    process.log.symlink_to(secret)
    process.ranks[0].log = Path("/etc/passwd")
    panes = [pane for window in layout_of(plan.run, state).windows for pane in window.panes]
    said = [pane.command[-1] for pane in panes if "is not shown: leads outside" in pane.command[-1]]
    assert [text.split(" is not shown")[0] for text in said] == [str(process.log), "/etc/passwd"]
    assert {pane.title for pane in panes if "tail -n" in pane.command[2]} == {"launcher"}


def test_panes_of_a_log_dir_elsewhere_are_there_before_their_files_are(tmp_path: Path) -> None:
    plan = plan_of(sft("--log-dir", str(tmp_path / "ranks"), "--trainer.module", "mine"), root=tmp_path / "run")
    plan.run.root.mkdir()
    state = first_state(plan, {})
    assert state.processes[0].log_dir == tmp_path / "ranks"
    assert state.processes[0].ranks[0].log.is_relative_to(tmp_path / "ranks")
    panes = [pane for window in layout_of(plan.run, state).windows for pane in window.panes]
    assert not [pane for pane in panes if "is not shown" in pane.command[-1]]
