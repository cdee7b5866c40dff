"""What the views make of a run on several nodes that share its directory."""

import os
import platform
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.nodes.messages import Lost
from launcher.plan.spec import Plan
from launcher.runs.choice import find_run
from launcher.runs.registry import every_run, register
from launcher.runs.state import RunState, open_run, other_nodes
from launcher.runs.state_file import StateFile, first_state
from launcher.supervisor.listeners.state import StateListener
from launcher.view.logs.follow import LogView
from launcher.view.logs.request import LogRequest, select
from launcher.view.status.model import run_details
from launcher.view.status.page import run_page
from launcher.view.tmux.panes import PANES_OF_OTHERS, layout_of
from tests.plans import plan_on_node, sft

LINE = "2026-11-23 03:10:{:02}.000 | INFO    | {}\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "otter"


def node(root: Path, rank: int, count: int = 2, **facts: object) -> tuple[Plan, RunState]:
    """A node of two ranks that has written its state, and a line in each of its logs; the later the higher its rank."""
    where = ("--node-rank", str(rank), "--rdzv-endpoint", "gpu01:29500")
    plan = plan_on_node(sft("--nnodes", str(count), "--nproc", "2", *where), root=root, run_id="id")
    state = first_state(plan, {}).model_copy(update={"state": "finished", "ended": time.time()} | facts)
    plan.run.own.mkdir(parents=True, exist_ok=True)
    StateFile(plan.run, state).write()
    for path, text in plan.files:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    spec = plan.processes[0]
    assert spec.ranks is not None
    for local in range(2):
        log = spec.ranks.directory / "attempt_0" / str(local) / "stdout.log"
        log.parent.mkdir(parents=True)
        log.write_text(LINE.format(10 * rank + local, f"local rank {local}"))
    plan.run.launcher_log.write_text(LINE.format(10 * rank + 5, "it is over"))
    return plan, state


def with_spares(root: Path) -> tuple[Plan, StateFile]:
    """Node 0 of two nodes, with node 2 and node 3 as spares."""
    plan, state = node(root, 0)
    assert plan.nodes is not None
    plan = replace(plan, nodes=replace(plan.nodes, spares=2, hosts=("gpu01", "gpu02", "gpu03", "gpu04")))
    return plan, StateFile(plan.run, first_state(plan, state.provenance))


def first_line(file: StateFile) -> str:
    file.write()
    return run_page(file.state, run_details(file.run, file.state), colours=False).splitlines()[0]


def test_status_tells_nodes_from_spares(root: Path) -> None:
    assert ", 2 nodes, 2 spares, here node 0" in first_line(with_spares(root)[1])


def test_a_spare_that_has_left_is_none_for_status_nor_is_one_that_has_taken_a_place(root: Path) -> None:
    plan, file = with_spares(root)
    StateListener(file)(Lost(3, "its launch is gone"))
    assert ", 2 nodes, 1 spare, here node 0" in first_line(file)
    assert plan.nodes is not None
    file.next_attempt(replace(plan, nodes=plan.nodes.with_places((0, 2))), None)
    assert ", 2 nodes, here node 0" in first_line(file)


def shown(root: Path, **request: object) -> list[str]:
    view = LogView(select(*open_run(root), LogRequest(**request)), labels=True, colours=False)  # type: ignore[arg-type]
    view.find_logs()
    lines = b"".join(view.new_lines(final=True)).decode().splitlines()
    return [" ".join((line.split("|")[0].strip(), line.split("|")[-1].strip())) for line in lines]


def test_the_logs_of_all_nodes_are_merged_and_ranks_are_global(root: Path) -> None:
    for rank in (1, 0):
        node(root, rank)
    assert shown(root) == [
        "trainer 0 local rank 0",
        "trainer 1 local rank 1",
        "launcher@0 it is over",
        "trainer 2 local rank 0",
        "trainer 3 local rank 1",
        "launcher@1 it is over",
    ]
    assert shown(root, ranks=(3,)) == ["trainer 3 local rank 1"]
    with pytest.raises(UserError, match="0 to 3"):
        shown(root, ranks=(4,))


def test_logs_of_an_older_run_in_the_same_directory_are_not_this_ones(root: Path) -> None:
    node(root, 0)
    node(root, 1, run_id="older")
    assert not any("@1" in line for line in shown(root))


def test_a_run_on_one_node_has_no_others(root: Path) -> None:
    plan = plan_on_node(sft(), root=root)
    state = first_state(plan, {})
    root.mkdir()
    StateFile(plan.run, state).write()
    assert other_nodes(plan.run, state) == []


def test_a_page_has_a_line_for_each_other_node(root: Path) -> None:
    plan, state = node(root, 0, state="running", ended=None)
    node(root, 1, state="failed")
    page = run_page(state, run_details(plan.run, state), colours=False)
    assert "attempt 1, 2 nodes, here node 0" in page
    assert f"node 1    failed on {platform.node()}: trainer with 2 ranks" in page


def test_a_node_on_another_host_whose_heartbeat_has_stopped_is_silent(root: Path) -> None:
    plan, state = node(root, 0, state="running", ended=None)
    other, _ = node(root, 1, state="running", ended=None, host="gpu02")
    assert [its.state for its in run_details(plan.run, state).other_nodes] == ["running"]
    os.utime(other.run.state, (time.time() - 60, time.time() - 60))
    assert [its.state for its in run_details(plan.run, state).other_nodes] == ["silent"]


def test_every_field_of_another_node_is_documented(root: Path) -> None:
    plan, state = node(root, 0)
    node(root, 1)
    text = (
        (Path(__file__).parents[2] / "docs" / "status.md").read_text().split("## Another node\n")[1].split("\n## ")[0]
    )
    (other,) = asdict(run_details(plan.run, state))["other_nodes"]
    assert set(other) == {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}


def test_panes_show_the_other_nodes_components_but_not_hundreds_of_them(root: Path) -> None:
    plan, state = node(root, 0, count=40)
    for rank in range(1, 40):
        node(root, rank, count=40)
    panes = [pane for window in layout_of(plan.run, state).windows for pane in window.panes]
    titles = [pane.title for pane in panes]
    assert titles[:3] == ["trainer", "trainer@1", "trainer@2"]
    assert sum("@" in title for title in titles) == PANES_OF_OTHERS
    assert [title for title in titles if "rank" in title] == ["trainer: 2 ranks"]


def test_a_node_with_a_directory_of_its_own_finds_its_run_there(root: Path) -> None:
    plan, _ = node(root, 1)
    register(root, "otter")
    assert every_run() == [root]
    run, state = find_run("otter", "logs")
    assert (run, state.node) == (plan.run, 1)
    assert shown(root)[-1] == "launcher@1 it is over"
