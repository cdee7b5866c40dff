"""The bars of `launch status RUN --timeline`, and the line in the summary."""

import json
from pathlib import Path

import pytest

from launcher.instrumentation.marks import write_mark
from launcher.rundir import RunDir
from launcher.runs.state import ProcessState, RunState
from launcher.timeline import read_timeline
from launcher.view.timeline import slow_start_line, timeline_json, timeline_page
from tests.states import state_of

BEGAN = 1_700_000_000.0


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "otter")
    for phase, at, rank in [("spawn", 1.0, None), ("imports", 10.0, 0), ("imports", 16.0, 1), ("model", 20.0, 0)]:
        write_mark(run.marks, "trainer", phase, rank, at=BEGAN + at)
    write_mark(run.marks, "trainer", "first batch", waits_for="reward", at=BEGAN + 30.0)
    return run


def state(run: RunDir) -> RunState:
    names = ("trainer", "reward")
    return state_of(run, started=BEGAN, processes=[ProcessState(name=name, log=Path("/log")) for name in names])


def step(run: RunDir, at: float) -> None:
    run.all_metrics.mkdir()
    run.metrics("trainer").write_text(json.dumps({"step": 1, "time": BEGAN + at}) + "\n")


def test_each_phase_is_a_bar_where_it_was(run: RunDir) -> None:
    step(run, 40.0)
    assert timeline_page(state(run), read_timeline(run, state(run)), colours=False, width=80).splitlines() == [
        "start of sft run otter, attempt 1: the first step was done after 40.0s",
        "",
        "  trainer  spawn              1.0s  █",
        "           imports (rank 1)  15.0s   ████████████████",
        "           model              4.0s                   █████",
        "           first batch       10.0s      waits for reward ░░░░░░░░░░░",
        "           first step        10.0s                                  ███████████",
        "                                    0s                                    40.0s",
        "",
        "  waited for   trainer imports (rank 1) 15.0s",
        "               trainer first batch 10.0s",
        "               trainer first step 10.0s",
    ]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_no_bar_is_wider_than_the_terminal(run: RunDir, width: int) -> None:
    step(run, 40.0)
    page = timeline_page(state(run), read_timeline(run, state(run)), colours=False, width=width)
    assert [line for line in page.splitlines()[2:] if len(line) > max(width, 55)] == []


def test_a_start_that_is_not_over_says_so(run: RunDir) -> None:
    page = timeline_page(state(run), read_timeline(run, state(run)), colours=False)
    assert page.startswith("start of sft run otter, attempt 1: no step yet; the first 30.0s\n")


def test_without_marks_there_is_one_line(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "otter")
    page = timeline_page(state(run), read_timeline(run, state(run)), colours=False)
    assert page == "start of sft run otter, attempt 1: nothing is known of it"


def test_the_summary_has_a_line_for_a_long_start_only(run: RunDir) -> None:
    assert slow_start_line(run, state(run)) is None
    step(run, 40.0)
    assert slow_start_line(run, state(run)) == ("40s to the first step, longest: trainer imports (rank 1) 15.0s")
    run.metrics("trainer").write_text(json.dumps({"step": 1, "time": BEGAN + 19.0}) + "\n")
    assert slow_start_line(run, state(run)) is None


def test_programs_get_all_of_it(run: RunDir) -> None:
    step(run, 40.0)
    found = json.loads(json.dumps(timeline_json(read_timeline(run, state(run)))))
    assert found["first_step"] == 40.0
    [trainer] = found["components"]
    assert trainer["phases"][1] == {"name": "imports", "start": 1.0, "end": 16.0, "waits_for": None, "rank": 1}
    assert [each["name"] for each in found["waited_for"]] == ["spawn", "imports", "model", "first batch", "first step"]


def test_colours_mark_what_the_first_step_waited_for(run: RunDir) -> None:
    step(run, 40.0)
    page = timeline_page(state(run), read_timeline(run, state(run)), colours=True)
    assert "\x1b[1m" in page and "\x1b" not in timeline_page(state(run), read_timeline(run, state(run)), colours=False)
