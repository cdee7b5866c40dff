"""What a component waits for, from the process that waits to the words that people read."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.instrumentation import waiting
from launcher.processes.identity import boot_id
from launcher.rundir import RunDir
from launcher.runs.state import RunState
from launcher.runs.waits import Wait, read_waits, waits_text
from tests.children import run_python
from tests.waiting import until


def state(*processes: dict[str, Any]) -> RunState:
    return RunState.model_validate(
        {
            "name": "otter",
            "kind": "rl",
            "attempt": 1,
            "state": "running",
            "host": "here",
            "boot_id": boot_id(),
            "started": 1000.0,
            "grace": 1.0,
            "progress": {"component": "trainer", "metric": "loss", "max_steps": None},
            "processes": [{"log": "/log", **process} for process in processes],
        }
    )


TRAINER = state({"name": "trainer", "process": {"pid": 1, "start_time": 1}})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setattr(waiting, "SHORT", 0.05)
    monkeypatch.setattr(waiting, "_file", None)
    run = RunDir(tmp_path)
    waiting.report_waits(run, "trainer", 0)
    return run


def test_a_wait_is_reported_with_its_beginning_and_gone_when_it_is_over(run: RunDir) -> None:
    before = time.time()
    with waiting.waiting_for("batch 13"):
        begun = time.time()
        [wait] = until(lambda: read_waits(run, TRAINER))
    assert (wait.component, wait.what) == ("trainer", "batch 13")
    assert before <= wait.since <= begun
    assert read_waits(run, TRAINER) == []
    assert list(run.all_waits.iterdir()) == []


def test_a_wait_that_fails_is_over_too(run: RunDir) -> None:
    with pytest.raises(ZeroDivisionError), waiting.waiting_for("batch 13"):
        until(lambda: read_waits(run, TRAINER))
        1 / 0  # noqa: B018
    assert read_waits(run, TRAINER) == []


def test_a_short_wait_writes_nothing(tmp_path: Path) -> None:
    code = """
from launcher import setup_logger, waiting_for
from launcher.instrumentation import waiting
waiting.SHORT = 100.0
setup_logger()
with waiting_for("x"): pass
"""
    done = run_python(code, tmp_path, LAUNCH_RUN_DIR=str(tmp_path), LAUNCH_COMPONENT="trainer")
    assert done.returncode == 0, done.stderr
    assert not RunDir(tmp_path).all_waits.exists()


def test_of_several_ranks_the_first_one_alone_reports(run: RunDir) -> None:
    waiting.report_waits(run, "trainer", 1)
    with waiting.waiting_for("batch 13"):
        time.sleep(0.1)
        assert not run.all_waits.exists()


def test_what_a_killed_process_has_left_does_not_count(tmp_path: Path) -> None:
    code = """
import os, signal, time
from launcher.instrumentation import waiting
from launcher import setup_logger, waiting_for
waiting.SHORT = 0.05
setup_logger()
with waiting_for("batch 13"):
    while not os.path.exists("logs/attempt_1/waits/trainer.json"): time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    run_python(code, tmp_path, LAUNCH_RUN_DIR=str(tmp_path), LAUNCH_COMPONENT="trainer")
    assert RunDir(tmp_path).wait("trainer").exists()
    assert read_waits(RunDir(tmp_path), TRAINER) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"what": 3}', '{"what": "x", "since": 1e300}', "x" * 10_000])
def test_what_is_no_wait_is_none(run: RunDir, content: str) -> None:
    run.all_waits.mkdir(parents=True)
    run.wait("trainer").write_text(content)
    assert read_waits(run, TRAINER) == []


def test_a_pipe_in_place_of_the_file_holds_nobody_up(run: RunDir) -> None:
    run.all_waits.mkdir(parents=True)
    os.mkfifo(run.wait("trainer"))
    assert read_waits(run, TRAINER) == []


def test_what_is_waited_for_cannot_steer_a_terminal(run: RunDir) -> None:
    with waiting.waiting_for("\x1b[2J\nweights"):
        [wait] = until(lambda: read_waits(run, TRAINER))
    assert wait.what == "\\nweights"


def test_a_component_that_is_not_started_waits_for_what_it_comes_after(tmp_path: Path) -> None:
    living = {"pid": 1, "start_time": 1}
    server = {"name": "inference", "process": living, "has_ready_check": True}
    client = {"name": "orchestrator", "after": ["inference"]}
    [wait] = read_waits(RunDir(tmp_path), state(server, client))
    assert wait == Wait("orchestrator", "inference to be ready", 1000.0)
    assert read_waits(RunDir(tmp_path), state({**server, "ready_after": 3.0}, client)) == []


def test_all_waits_are_one_sentence() -> None:
    waits = [Wait("orchestrator", "weights 12", 100.0), Wait("trainer", "batch 13", 102.0)]
    assert waits_text(waits, 140.0) == (
        "orchestrator has waited 40 s for weights 12; trainer has waited 38 s for batch 13"
    )
    assert waits_text(waits[:1], 100.0 + 187) == "orchestrator has waited 3m 07s for weights 12"
    assert waits_text([]) == ""
