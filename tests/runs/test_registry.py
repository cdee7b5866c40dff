"""Where runs are found: below ./outputs, around the working directory, and in the registry."""

import json
from pathlib import Path

import pytest

from launcher.runs.registry import call_name, every_run, project_runs, register, runs_beginning, runs_called

pytestmark = pytest.mark.usefixtures("here")


def registry(tmp_path: Path) -> Path:
    return tmp_path / "state" / "launch" / "runs"


def a_run(root: Path, name: str = "otter", is_registered: bool = False) -> Path:
    root.mkdir(parents=True)
    (root / "run.json").write_text(json.dumps({"name": name}))
    if is_registered:
        register(root, name)
    return root


# --- this project's ---------------------------------------------------------------------------------------------------


def test_runs_below_outputs_are_this_projects_and_latest_is_not_one_more(here: Path) -> None:
    run = a_run(here / "outputs" / "otter")
    (here / "outputs" / "latest").symlink_to("otter")
    (here / "outputs" / "no run").mkdir()
    assert project_runs() == [run]


def test_a_run_elsewhere_is_not_this_projects_but_one_of_all(tmp_path: Path) -> None:
    run = a_run(tmp_path / "far" / "a 'b'\n$(x)")
    assert every_run() == []
    register(run, "otter")
    register(run, "otter")
    assert project_runs() == []
    assert every_run() == [run]


def test_a_registered_run_further_down_below_outputs_is_this_projects(here: Path) -> None:
    run = a_run(here / "outputs" / "sweep" / "lr3", is_registered=True)
    assert project_runs() == [run]


@pytest.mark.parametrize("folder", ["", "logs/attempt_1", "checkpoints", "metrics"])
def test_the_run_whose_directory_one_stands_in_is_this_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    run = a_run(tmp_path / "far" / "otter")
    (run / folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(run / folder)
    assert project_runs() == [run]


def test_a_run_does_not_reach_into_a_directory_that_it_has_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = a_run(tmp_path / "home")
    (home / "project").mkdir()
    monkeypatch.chdir(home / "project")
    assert project_runs() == []


# --- by name ----------------------------------------------------------------------------------------------------------


def test_a_run_is_called_by_its_own_name_and_by_its_directorys(tmp_path: Path, here: Path) -> None:
    far = a_run(tmp_path / "far" / "directory", "calm-otter", is_registered=True)
    near = a_run(here / "outputs" / "place", "brave-fox")
    assert [runs_called(name) for name in ("directory", "calm-otter")] == [[far], [far]]
    assert [runs_called(name) for name in ("place", "brave-fox")] == [[near], [near]]
    assert runs_called("calm") == []
    assert runs_beginning("calm") == [far]


def test_a_name_is_known_without_a_look_at_runs_that_are_called_otherwise(tmp_path: Path) -> None:
    """They may be on a file system that does not answer."""
    run = a_run(tmp_path / "far", "otter", is_registered=True)
    (run / "run.json").unlink()
    assert runs_called("fox") == []
    assert len(list(registry(tmp_path).iterdir())) == 1
    assert runs_called("otter") == []
    assert list(registry(tmp_path).iterdir()) == []


def test_a_directory_that_got_another_run_is_known_by_that_ones_name_alone(tmp_path: Path) -> None:
    run = a_run(tmp_path / "far", "old", is_registered=True)
    register(run, "new")
    assert (runs_called("old"), runs_called("new")) == ([], [run])


def test_an_entry_without_a_name_is_understood(tmp_path: Path) -> None:
    """Names came later."""
    run = a_run(tmp_path / "far", "otter")
    registry(tmp_path).mkdir(parents=True)
    (registry(tmp_path) / "0123456789abcdef").symlink_to(run)
    assert runs_called("otter") == [run]


def test_a_run_is_typed_by_name_unless_another_has_it(tmp_path: Path) -> None:
    one = a_run(tmp_path / "a b" / "otter", is_registered=True)
    assert call_name(one, "otter") == "otter"
    a_run(tmp_path / "far", "otter", is_registered=True)
    assert call_name(one, "otter") == f"'{one}'"


def test_a_run_that_nobody_has_registered_is_typed_by_its_directory(tmp_path: Path, here: Path) -> None:
    far, near = a_run(tmp_path / "far" / "otter"), a_run(here / "outputs" / "fox")
    assert call_name(far, "otter") == str(far)
    assert call_name(near, "fox") == "fox"


# --- the registry itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_run_whose_state_is_broken_is_still_found_by_its_directory(here: Path, content: bytes) -> None:
    run = a_run(here / "outputs" / "otter")
    (run / "run.json").write_bytes(content)
    assert runs_called("otter") == [run]


def test_a_run_that_was_removed_is_forgotten(tmp_path: Path) -> None:
    run = a_run(tmp_path / "far", is_registered=True)
    (run / "run.json").unlink()
    assert every_run() == []
    assert list(registry(tmp_path).iterdir()) == []


def test_what_else_lies_in_the_registry_is_left_alone(tmp_path: Path) -> None:
    registry(tmp_path).mkdir(parents=True)
    (registry(tmp_path) / "notes").write_text("mine")
    (registry(tmp_path) / "directory").mkdir()
    assert every_run() == []
    assert sorted(path.name for path in registry(tmp_path).iterdir()) == ["directory", "notes"]


@pytest.mark.parametrize("state_home", ["/proc/nowhere", "/dev/null"])
def test_a_registry_that_cannot_be_written_fails_nothing(
    state_home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", state_home)
    run = a_run(tmp_path / "far", is_registered=True)
    assert every_run() == []
    assert call_name(run, "otter") == str(run)
