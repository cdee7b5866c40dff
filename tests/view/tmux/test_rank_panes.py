"""The window `ranks`: one pane that folds what the ranks log alike, or a pane for each."""

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from launcher.plan.spec import Plan
from launcher.processes.identity import identify
from launcher.runs.state import RankState, RunState
from launcher.runs.state_file import first_state
from launcher.view.tmux.layout import COLOURS, RANK_LABELS
from launcher.view.tmux.panes import layout_of
from launcher.view.tmux.session import ensure_panes, open_panes
from tests.children import stopped
from tests.colours import without_colours
from tests.plans import plan_of, train
from tests.tmux_server import TmuxServer
from tests.waiting import until

STAMP = "2026-11-23 03:10:02.123"
EACH = [f"trainer {rank}" for rank in range(8)]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    root = tmp_path / "it's a\"run"
    plan = plan_of(train("--nproc", "8", "train.py"), root=root)
    root.mkdir()
    return plan


def rank_panes(plan: Plan, state: RunState, *, each_rank: bool = False) -> list[str]:
    windows = layout_of(plan.run, state, each_rank=each_rank).windows
    return [pane.title for window in windows for pane in window.panes if window.name.startswith("ranks")]


def test_eight_ranks_are_one_pane_that_says_so(plan: Plan) -> None:
    assert rank_panes(plan, first_state(plan, {})) == ["trainer: 8 ranks"]


def test_each_rank_has_a_pane_where_it_is_asked_for(plan: Plan) -> None:
    state = first_state(plan, {})
    assert rank_panes(plan, state, each_rank=True) == EACH  # launch attach --each-rank
    assert rank_panes(plan, state.model_copy(update={"tmux_each_rank": True})) == EACH  # --tmux.each-rank


def test_a_single_rank_is_not_folded(tmp_path: Path) -> None:
    plan = plan_of(train("train.py"), root=tmp_path)
    assert rank_panes(plan, first_state(plan, {})) == ["trainer 0"]


def test_the_ranks_of_another_node_have_a_pane_each(plan: Plan) -> None:
    state = first_state(plan, {})
    assert [
        pane.title for window in layout_of(plan.run.on(1), state).windows for pane in window.panes if " " in pane.title
    ] == EACH


def test_what_all_ranks_log_stands_there_once_and_what_one_logs_with_its_number(plan: Plan, tmux: TmuxServer) -> None:
    state = first_state(plan, {}).model_copy(update={"state": "finished"})
    plan.run.state.write_text(state.model_dump_json())
    for rank in state.processes[0].ranks:
        write(plan, rank, f"{STAMP} | INFO    | loaded 3 rows\n")
    write(plan, state.processes[0].ranks[5], f"{STAMP} | WARNING | a slow disk\n")
    session = open_panes(layout_of(plan.run, state))
    pane = f"={session}:=ranks"
    screen = tmux.wait_for_text(pane, "a slow disk")
    shown = [line.strip() for line in screen.splitlines() if line.strip()]
    assert shown == ["r0-7 03:10:02 loaded 3 rows", "r5 03:10:02 WARNING a slow disk"]


def test_the_folded_pane_goes_on_to_what_is_logged_later(plan: Plan, tmux: TmuxServer) -> None:
    """It would end at once if it took a run that is starting for one that is over."""
    state = first_state(plan, {}).model_copy(update={"state": "running", "supervisor": identify(os.getpid())})
    plan.run.state.write_text(state.model_dump_json())
    session = open_panes(layout_of(plan.run, state))
    write(plan, state.processes[0].ranks[2], f"{STAMP} | INFO    | first\n")
    tmux.wait_for_text(f"={session}:=ranks", "first")
    with stopped(reader_of(tmux, f"={session}:=ranks")):  # it reads all of them at once, however busy the machine is
        for rank in state.processes[0].ranks:
            write(plan, rank, f"{STAMP} | INFO    | later\n")
    tmux.wait_for_text(f"={session}:=ranks", "r0-7 03:10:02 later")


def test_attach_unfolds_and_folds_open_panes(plan: Plan, tmux: TmuxServer) -> None:
    state = first_state(plan, {})
    plan.run.state.write_text(state.model_dump_json())
    session = open_panes(layout_of(plan.run, state))
    assert ensure_panes(layout_of(plan.run, state, each_rank=True)) == session
    assert tmux.panes("#W #{pane_title}")[1:9] == [f"ranks {title}" for title in EACH]
    ensure_panes(layout_of(plan.run, state))
    until(lambda: tmux.panes("#W #{pane_title}")[1] == "ranks trainer: 8 ranks")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"trainer   | {STAMP} | INFO    | [ranks 0-3,7] x | y", "r0-3,7 03:10:02 x | y"),
        (f"trainer 3 | {STAMP} | ERROR   | bad", "r3 03:10:02 ERROR bad"),
        ('trainer 12 |   File "a.py", line 1', 'r12   File "a.py", line 1'),
        ("trainer   | [ranks 0-1] no time | here", "r0-1 no time | here"),
        ("trainer   | what torchrun says", "what torchrun says"),
    ],
)
def test_a_line_has_the_ranks_that_logged_it_and_no_date(line: str, shown: str) -> None:
    sed = ["sed", "-E", "-f", str(RANK_LABELS), "-f", str(COLOURS)]
    done = subprocess.run(sed, input=f"{line}\n", capture_output=True, check=True, text=True, env={"LC_ALL": "C"})
    assert without_colours(done.stdout) == f"{shown}\n"


def reader_of(tmux: TmuxServer, pane: str) -> int:
    """The pid of the `launch logs` in a pane."""
    shell = psutil.Process(int(tmux.run("display-message", "-p", "-t", pane, "#{pane_pid}")))
    return next(each.pid for each in shell.children(recursive=True) if "--follow" in each.cmdline())


def write(plan: Plan, rank: RankState, line: str) -> None:
    ranks = plan.processes[0].ranks
    assert ranks
    file = ranks.directory / "attempt_0" / str(rank.rank) / "stdout.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as log:
        log.write(line)
