"""`launch checkpoint`: what is asked of the trainer, and when somebody is told that it cannot be."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from launcher.control.checkpoint import checkpoint_now
from launcher.errors import UserError
from launcher.processes.identity import identify
from launcher.rundir import RunDir
from launcher.runs.state import ProcessState
from launcher.runs.state_file import StateFile
from tests.states import state_of
from tests.waiting import until


def made(directory: Path, **facts: Any) -> RunDir:
    run = RunDir(directory / "otter")
    run.own.mkdir(parents=True)
    StateFile(run, state_of(run, **{"state": "running", "supervisor": identify(os.getpid())} | facts)).write()
    return run


def asked(run: RunDir, **facts: Any) -> Path:
    return checkpoint_now(run, state_of(run, **{"state": "running", "supervisor": identify(os.getpid())} | facts))


def test_it_waits_until_the_trainer_has_written_one(tmp_path: Path) -> None:
    run = made(tmp_path)

    def train() -> None:
        until(run.checkpoint_request.exists)
        run.checkpoint(12).mkdir(parents=True)
        run.checkpoint_request.unlink()

    trainer = threading.Thread(target=train)
    trainer.start()
    assert asked(run) == run.checkpoint(12)
    trainer.join()


def test_a_run_that_ends_first_has_none_and_nothing_is_left_to_be_asked(tmp_path: Path) -> None:
    run = made(tmp_path)
    run.checkpoint(3).mkdir(parents=True)

    def end() -> None:
        until(run.checkpoint_request.exists)
        StateFile(run, state_of(run, state="failed", ended=2.0)).write()

    ending = threading.Thread(target=end)
    ending.start()
    with pytest.raises(UserError, match="has ended before it wrote a checkpoint"):
        asked(run)
    ending.join()
    assert not run.checkpoint_request.exists()


def test_who_has_stopped_waiting_takes_nothing_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        asked(run)
    assert run.checkpoint_request.exists()


def test_a_trainer_that_has_finished_has_written_its_last_one(tmp_path: Path) -> None:
    run = made(tmp_path)
    run.checkpoint(9).mkdir(parents=True)
    trainer = ProcessState(name="trainer", log=run.component_log("trainer"), exit_code=0)
    StateFile(run, state_of(run, state="running", supervisor=identify(os.getpid()), processes=[trainer])).write()
    assert asked(run) == run.checkpoint(9)
    assert not run.checkpoint_request.exists()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"state": "finished", "ended": 2.0}, "is finished: only a running run"),
        ({"own_checkpoints": False}, "is your own, which launch cannot ask"),
        ({"supervisor": None, "guard": None}, "is died: only a running run"),
    ],
)
def test_who_cannot_write_one_is_told_so_and_not_asked(tmp_path: Path, facts: dict[str, Any], message: str) -> None:
    run = made(tmp_path, **facts)
    with pytest.raises(UserError, match=message):
        asked(run, **facts)
    assert not run.checkpoint_request.exists()


def test_on_another_node_with_its_own_directory_one_is_sent_to_node_0(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "otter", node=1)
    run.own.mkdir(parents=True)
    with pytest.raises(UserError, match="not the directory of node 0, where the trainer looks"):
        asked(run, node=1, nodes=2)
