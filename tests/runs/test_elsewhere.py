from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.runs.elsewhere import put_weights_elsewhere, remove_weights_elsewhere


def test_weights_lie_elsewhere_while_the_run_lasts_and_nothing_of_them_is_left(tmp_path: Path) -> None:
    run, memory = RunDir(tmp_path / "run"), tmp_path / "memory"
    run.root.mkdir()
    memory.mkdir()
    for _ in range(2):  # the second time as after a launch that was killed
        put_weights_elsewhere(run, memory)
        run.weights(3).mkdir()
        (run.weights(3) / "model.safetensors").touch()
        assert [path.name for path in memory.rglob("*.safetensors")] == ["model.safetensors"]
        assert len(list(memory.iterdir())) == 1
    assert next(memory.iterdir()).stat().st_mode & 0o777 == 0o700
    remove_weights_elsewhere(run)
    assert list(memory.iterdir()) == [] and not run.all_weights.is_symlink()


def test_an_earlier_attempts_weights_make_room(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.weights(1).mkdir(parents=True)
    put_weights_elsewhere(run, tmp_path)
    assert run.all_weights.is_symlink() and list(run.all_weights.iterdir()) == []


def test_a_link_of_the_users_own_keeps_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "precious").touch()
    (tmp_path / "weights").symlink_to(tmp_path / "own")
    remove_weights_elsewhere(RunDir(tmp_path))
    assert (tmp_path / "own" / "precious").exists()


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--weights-dir {tmp_path}/none: No such file"):
        put_weights_elsewhere(RunDir(tmp_path), tmp_path / "none")
