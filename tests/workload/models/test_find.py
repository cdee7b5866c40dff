import re
from pathlib import Path

import pytest

from launcher.checkpoints import resolve_model
from launcher.config.serving import InferenceConfig
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.workload.models.find import find_model
from launcher.workload.models.tiny import make_tiny
from tests.workload.running import SHAPE, TINY


def handed(directory: Path, seed: int = 0) -> InferenceConfig:
    return InferenceConfig.model_validate({"output_dir": directory, "seed": seed, "model": TINY})


def test_tiny_is_made_once_in_the_runs_directory(tmp_path: Path) -> None:
    name = find_model(TINY, handed(tmp_path))
    assert Path(name) == RunDir(tmp_path).model
    before = {path.name: path.stat().st_mtime_ns for path in Path(name).iterdir()}
    assert find_model(TINY, handed(tmp_path, seed=5)) == name
    assert {path.name: path.stat().st_mtime_ns for path in Path(name).iterdir()} == before


def test_a_runs_directory_stands_for_its_newest_checkpoint(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for step in (5, 10, 9):
        make_tiny(run.checkpoint(step), SHAPE, step)
    assert resolve_model(str(tmp_path)) == str(run.checkpoint(10))
    assert resolve_model(str(run.checkpoint(5))) == str(run.checkpoint(5))


def test_a_relative_directory_is_the_same_model_for_a_component_with_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiny(tmp_path / "mine", SHAPE, 0)
    monkeypatch.chdir(tmp_path)
    assert resolve_model("mine") == str(tmp_path / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_model("~/mine") == str(tmp_path / "mine")


def test_a_name_that_is_no_path_is_left_to_the_hub() -> None:
    assert resolve_model("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"


def test_a_directory_without_a_model_says_what_may_be_named(tmp_path: Path) -> None:
    for name in (tmp_path, tmp_path / "none", "--trust-remote-code", "..", "a/b/c", "~nobody-of-this-name/model"):
        found = f"^--model {re.escape(str(name))}: there is no (model|such directory)"
        with pytest.raises(UserError, match=found) as refused:
            resolve_model(str(name))
        assert "output directory of a run" in str(refused.value)


def test_a_checkpoint_that_its_run_has_removed_is_called_that(tmp_path: Path) -> None:
    make_tiny(RunDir(tmp_path).checkpoint(10), SHAPE, 0)
    with pytest.raises(UserError, match="this checkpoint is not there any more"):
        resolve_model(str(RunDir(tmp_path).checkpoint(5)))
