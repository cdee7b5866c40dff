"""The start of an attempt, from marks and metrics: phases in order, ranks folded, and who was waited for."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.instrumentation.marks import write_mark
from launcher.rundir import RunDir
from launcher.runs.state import ProcessState, ProgressState, RunState
from launcher.timeline import Phase, first_step_after, read_timeline
from tests.states import state_of

BEGAN = 1_700_000_000.0


def of(run: RunDir, *processes: ProcessState, **facts: Any) -> RunState:
    return state_of(run, started=BEGAN, processes=list(processes) or [process("trainer")], **facts)


def process(name: str, **facts: Any) -> ProcessState:
    return ProcessState(name=name, log=Path("/log"), **facts)


def mark(run: RunDir, component: str, phase: str, at: float, rank: int | None = None, waits_for: str = "") -> None:
    write_mark(run.marks, component, phase, rank, waits_for or None, BEGAN + at)


def step(run: RunDir, component: str, number: int, at: float) -> None:
    path = run.metrics(component)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"step": number, "time": BEGAN + at, "loss": 1.0}) + "\n")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def phases(run: RunDir, state: RunState) -> dict[str, list[tuple[str, float, float]]]:
    start = read_timeline(run, state)
    return {
        row.component: [(each.name, round(each.start, 3), round(each.end, 3)) for each in row.phases]
        for row in start.rows
    }


def test_a_mark_ends_the_phase_that_the_mark_before_it_began(run: RunDir) -> None:
    for phase, at in [("spawn", 0.5), ("torchrun", 3.0), ("imports", 7.0), ("model", 9.0)]:
        mark(run, "trainer", phase, at)
    step(run, "trainer", 0, 9.5)
    step(run, "trainer", 1, 10.0)
    step(run, "trainer", 2, 11.0)
    assert phases(run, of(run)) == {
        "trainer": [
            ("spawn", 0.0, 0.5),
            ("torchrun", 0.5, 3.0),
            ("imports", 3.0, 7.0),
            ("model", 7.0, 9.0),
            ("first step", 9.0, 10.0),
        ]
    }


def test_of_several_ranks_the_last_one_counts_and_is_named_when_the_others_waited_for_it(run: RunDir) -> None:
    mark(run, "trainer", "spawn", 0.1)
    for rank, at in enumerate([4.0, 4.1, 9.0]):
        mark(run, "trainer", "imports", at, rank)
        mark(run, "trainer", "rendezvous", 9.1, rank)
    _, imports, rendezvous = read_timeline(run, of(run)).rows[0].phases
    assert (imports.end, imports.rank) == (9.0, 2)
    assert rendezvous.rank is None


def test_a_component_that_was_started_again_keeps_the_marks_of_its_first_start(run: RunDir) -> None:
    for at in (0.0, 100.0):
        mark(run, "inference", "spawn", 1.0 + at)
        mark(run, "inference", "imports", 2.0 + at)
    assert phases(run, of(run, process("inference"))) == {"inference": [("spawn", 0.0, 1.0), ("imports", 1.0, 2.0)]}


def test_the_chain_of_who_was_waited_for_leads_through_all_components(run: RunDir) -> None:
    mark(run, "inference", "spawn", 0.1)
    mark(run, "inference", "imports", 2.0)
    mark(run, "inference", "model", 20.0)
    mark(run, "orchestrator", "spawn", 0.1)
    mark(run, "orchestrator", "imports", 1.0)
    mark(run, "orchestrator", "inference", 20.1, waits_for="inference")
    mark(run, "trainer", "spawn", 0.1)
    mark(run, "trainer", "imports", 8.0)
    mark(run, "trainer", "first batch", 23.0, waits_for="orchestrator")
    step(run, "orchestrator", 1, 22.9)
    step(run, "trainer", 1, 24.0)
    state = of(run, process("trainer"), process("orchestrator"), process("inference"))
    start = read_timeline(run, state)
    assert start.first_step == 24.0
    chain = [(component, phase.name, round(phase.seconds, 1)) for component, phase in start.critical]
    assert chain == [
        ("inference", "spawn", 0.1),
        ("inference", "imports", 1.9),
        ("inference", "model", 18.0),
        ("orchestrator", "first step", 2.8),
        ("trainer", "first step", 1.0),
    ]


def test_two_components_that_wait_for_each_other_end_the_chain(run: RunDir) -> None:
    mark(run, "trainer", "a", 5.0, waits_for="orchestrator")
    mark(run, "orchestrator", "b", 5.0, waits_for="trainer")
    state = of(run, process("trainer"), process("orchestrator"))
    assert read_timeline(run, state).critical == (("trainer", Phase("a", 0.0, 5.0, "orchestrator")),)


def test_a_component_that_starts_after_another_one_waits_for_it(run: RunDir) -> None:
    mark(run, "reward", "spawn", 0.1)
    mark(run, "reward", "ready", 6.0)
    mark(run, "trainer", "spawn", 6.1)
    mark(run, "trainer", "first output", 7.0)
    state = of(run, process("reward"), process("trainer", after=("reward",)))
    chain = [(component, phase.name) for component, phase in read_timeline(run, state).critical]
    assert chain == [("reward", "spawn"), ("reward", "ready"), ("trainer", "first output")]


def test_of_a_program_that_marks_nothing_its_first_output_is_shown(run: RunDir) -> None:
    mark(run, "trainer", "spawn", 0.1)
    mark(run, "trainer", "first output", 2.0)
    assert [each.name for each in read_timeline(run, of(run)).rows[0].phases] == ["spawn", "first output"]
    mark(run, "trainer", "imports", 1.5)
    assert [each.name for each in read_timeline(run, of(run)).rows[0].phases] == ["spawn", "imports"]


def test_a_resumed_attempt_has_its_own_first_step(run: RunDir) -> None:
    for number in range(1, 2000):
        step(run, "trainer", number, number - 3000.0)
    for number in range(2000, 4000):
        step(run, "trainer", number, number - 1990.0)
    assert run.metrics("trainer").stat().st_size > 2 * 65536
    second = run.of(2)
    mark(second, "trainer", "spawn", 0.1)
    assert read_timeline(second, of(second)).first_step == 10.0
    assert first_step_after(run.metrics("trainer"), BEGAN + 5000) is None


def test_a_run_without_marks_has_no_timeline(run: RunDir) -> None:
    step(run, "trainer", 1, 5.0)
    start = read_timeline(run, of(run))
    assert (start.rows, start.first_step, start.critical) == ((), None, ())


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "3",
        '{"component": "trainer", "phase": "x", "time": NaN}',
        '{"component": "trainer", "phase": "x", "time": 1e999}',
        '{"component": "trainer", "phase": "x", "time": -1}',
        '{"component": "../x", "phase": "x", "time": 1}',
        '{"component": "trainer", "phase": "x", "time": 1, "rank": 1e9}',
        '{"component": "other", "phase": "x", "time": 1}',
        "x" * 100_000,
    ],
)
def test_what_is_no_mark_is_skipped(run: RunDir, line: str) -> None:
    run.logs.mkdir(parents=True)
    run.marks.write_text(line + "\n")
    mark(run, "trainer", "spawn", 1.0)
    assert phases(run, of(run)) == {"trainer": [("spawn", 0.0, 1.0)]}


def test_a_pipe_in_place_of_the_marks_holds_nobody_up(run: RunDir) -> None:
    run.logs.mkdir(parents=True)
    os.mkfifo(run.marks)
    mark(run, "trainer", "spawn", 1.0)
    assert read_timeline(run, of(run)).rows == ()


def test_many_phases_and_odd_names_are_cut(run: RunDir) -> None:
    for number in range(100):
        mark(run, "trainer", f"\x1b[2J{number}\n{'x' * 150}", float(number))
    found = read_timeline(run, of(run)).rows[0].phases
    assert len(found) == 30  # and room for ready and the first step
    assert all(len(each.name) <= 40 and each.name.isprintable() for each in found)


def test_a_clock_that_was_set_back_gives_no_negative_length(run: RunDir) -> None:
    mark(run, "trainer", "spawn", -100.0)
    mark(run, "trainer", "imports", 3.0)
    assert phases(run, of(run)) == {"trainer": [("spawn", 0.0, 0.0), ("imports", 0.0, 3.0)]}


def test_a_hundred_thousand_marks_are_read_in_no_time(run: RunDir) -> None:
    run.logs.mkdir(parents=True)
    line = json.dumps({"component": "trainer", "phase": "imports", "time": BEGAN + 1.0, "rank": 1}) + "\n"
    run.marks.write_text(line * 120_000)
    state = of(run, progress=ProgressState(component="trainer", metric="loss", max_steps=3))
    begun = time.process_time()
    assert len(read_timeline(run, state).rows) == 1
    assert time.process_time() - begun < 3.0


def test_a_program_with_many_marks_has_a_first_step_all_the_same(run: RunDir) -> None:
    for number in range(50):
        mark(run, "trainer", f"shard {number}", float(number))
    mark(run, "trainer", "spawn", 0.0)
    step(run, "trainer", 1, 60.0)
    assert read_timeline(run, of(run)).rows[0].phases[-1].name == "first step"


def test_components_that_all_wait_for_one_another_are_followed_to_the_end(run: RunDir) -> None:
    names = [f"part{number}" for number in range(120)]
    for number, name in enumerate(names):
        for phase in range(20):
            mark(run, name, f"phase {phase}", 1.0 + phase, waits_for=names[(number + 1) % len(names)])
    assert len(read_timeline(run, of(run, *map(process, names))).rows) == len(names)
