"""Finding runs by name, by path, and without either."""

import json
import os
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.registry import find_run, known_runs, register


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without runs, and a registry that nobody has used."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def registry(tmp_path: Path) -> Path:
    return tmp_path / "state" / "launch" / "runs"


def a_run(root: Path, age: float, name: str = "otter") -> Path:
    """A run whose run.json last changed `age` seconds ago."""
    root.mkdir(parents=True)
    state = root / "run.json"
    state.write_text(json.dumps({"name": name}))
    os.utime(state, (1e9 - age, 1e9 - age))
    return root


def test_without_any_run_it_is_said_how_to_start_one() -> None:
    with pytest.raises(UserError, match=r"there is no run yet\n.*launch rl"):
        find_run(None)
    with pytest.raises(UserError, match="there is no run yet"):
        find_run("otter")


def test_runs_below_outputs_are_known_and_latest_is_not_one_more(here: Path) -> None:
    run = a_run(here / "outputs" / "otter", age=1)
    (here / "outputs" / "latest").symlink_to("otter")
    (here / "outputs" / "no run").mkdir()
    assert known_runs() == [run]


def test_a_run_elsewhere_is_found_once_it_is_registered(tmp_path: Path) -> None:
    run = a_run(tmp_path / "far" / "a 'b'\n$(x)", age=1)
    assert known_runs() == []
    register(run)
    register(run)
    assert known_runs() == [run]
    assert find_run(None) == run


def test_the_newest_run_comes_first_wherever_it_is(tmp_path: Path, here: Path) -> None:
    old = a_run(here / "outputs" / "old", age=30)
    newest = a_run(tmp_path / "far" / "newest", age=10)
    middle = a_run(here / "outputs" / "middle", age=20)
    for run in (old, newest, middle):
        register(run)
    assert known_runs() == [newest, middle, old]
    assert find_run(None) == newest


def test_a_run_is_found_by_its_directorys_name_its_own_name_or_a_path(tmp_path: Path, here: Path) -> None:
    run = a_run(tmp_path / "far" / "directory", age=1, name="calm-otter")
    a_run(here / "outputs" / "other", age=0)
    register(run)
    for name in ("directory", "calm-otter", str(run), "../far/directory"):
        assert find_run(name) == run


def test_of_two_runs_with_one_name_the_newer_is_meant(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / place / "otter", age) for place, age in (("a", 20), ("b", 10))]
    for run in runs:
        register(run)
    assert find_run("otter") == runs[1]


def test_an_unknown_name_lists_the_newest_runs(here: Path) -> None:
    a_run(here / "outputs" / "first", age=2)
    a_run(here / "outputs" / "second", age=1)
    with pytest.raises(UserError, match=r"there is no run 'third'\n.*second, first"):
        find_run("third")


def test_a_run_whose_state_is_broken_is_still_found_by_its_directory(here: Path) -> None:
    run = a_run(here / "outputs" / "otter", age=1)
    for content in (b"", b"{", b"[]", b"\xff"):
        (run / "run.json").write_bytes(content)
        assert find_run("otter") == run


def test_a_run_that_was_removed_is_forgotten(tmp_path: Path) -> None:
    run = a_run(tmp_path / "far", age=1)
    register(run)
    (run / "run.json").unlink()
    assert known_runs() == []
    assert list(registry(tmp_path).iterdir()) == []


def test_what_else_lies_in_the_registry_is_left_alone(tmp_path: Path) -> None:
    registry(tmp_path).mkdir(parents=True)
    (registry(tmp_path) / "notes").write_text("mine")
    (registry(tmp_path) / "directory").mkdir()
    assert known_runs() == []
    assert sorted(path.name for path in registry(tmp_path).iterdir()) == ["directory", "notes"]


@pytest.mark.parametrize("state_home", ["/proc/nowhere", "/dev/null"])
def test_a_registry_that_cannot_be_written_fails_nothing(
    state_home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", state_home)
    register(a_run(tmp_path / "far", age=1))
    assert known_runs() == []
