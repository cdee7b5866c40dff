from pathlib import Path

import pytest

from launcher.checkpoints import steps_in
from launcher.rundir import RunDir
from launcher.workload.files import appearing, clear, remove, resume_step


def test_a_directory_appears_with_all_its_files_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "below" / "step_1"
    with pytest.raises(RuntimeError), appearing(target) as draft:
        draft.mkdir()
        (draft / "half").write_text("half")
        raise RuntimeError
    assert list(target.parent.iterdir()) == []
    with appearing(target) as draft:
        draft.mkdir()
        (draft / "whole").write_text("whole")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["whole"]


def test_a_directory_that_is_there_is_replaced(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with appearing(tmp_path / "step_1") as draft:
            draft.mkdir()
            (draft / content).touch()
    assert [path.name for path in tmp_path.glob("*/*")] == ["new"]


def test_drafts_are_no_steps(tmp_path: Path) -> None:
    for name in ("step_2", "step_10", ".step_11.123", "step_x", "step_²", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "step_3.safetensors").touch()
    assert steps_in(tmp_path) == [2, 3, 10]


def test_clearing_takes_drafts_too_and_needs_no_directory(tmp_path: Path) -> None:
    (tmp_path / ".step_1.9").mkdir()
    (tmp_path / "step_2").mkdir()
    (tmp_path / "step_3.safetensors").touch()
    clear(tmp_path)
    clear(tmp_path / "absent")
    remove(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_only_a_later_attempt_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    RunDir(tmp_path).checkpoint(7).mkdir(parents=True)
    assert [resume_step(RunDir(tmp_path, attempt)) for attempt in (1, 2)] == [0, 7]
    assert resume_step(RunDir(tmp_path / "new", 2)) == 0
