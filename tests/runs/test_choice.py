"""Which run a command means: what was asked for, or nothing."""

import os
import platform
import time
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.processes.identity import boot_id, identify
from launcher.runs.choice import find_run
from launcher.runs.registry import register
from launcher.runs.state import ProgressState, RunState

pytestmark = pytest.mark.usefixtures("here")

CHANGING = ["stop", "resume"]
LOOKING = ["attach", "status", "logs", "samples", "stacks"]
HOUR = 3600.0


def a_run(root: Path, name: str | None = None, state: str = "running", age: float = 0, seen: float = 0) -> Path:
    """A registered run, started `age` seconds ago and touched `seen` seconds ago; this process is its supervisor."""
    root.mkdir(parents=True)
    its = RunState.model_validate(
        {
            "name": name or root.name,
            "kind": "sft",
            "attempt": 1,
            "state": state,
            "host": platform.node(),
            "boot_id": boot_id(),
            "started": time.time() - age,
            "grace": 30,
            "progress": ProgressState(component="trainer", metric="loss", max_steps=None),
            "processes": [],
            "supervisor": identify(os.getpid()),
        }
    )
    (root / "run.json").write_text(its.model_dump_json())
    os.utime(root / "run.json", (time.time() - seen, time.time() - seen))
    register(root, its.name)
    return root


def meant(text: str | None, command: str) -> Path:
    return find_run(text, command)[0].root


# --- without RUN ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [*CHANGING, *LOOKING])
def test_a_run_elsewhere_is_never_meant_without_its_name(tmp_path: Path, command: str) -> None:
    far = a_run(tmp_path / "far" / "otter")
    with pytest.raises(UserError) as refused:
        find_run(None, command)
    assert refused.value.message == "there is no run below ./outputs; name a run that is elsewhere"
    assert refused.value.hint and f"otter  running, started {time.strftime('%Y')}" in refused.value.hint
    assert refused.value.hint.endswith(f"{far}\n  such as: launch {command} otter")


def test_without_any_run_it_is_said_how_to_start_one() -> None:
    for text in (None, "otter", ""):
        with pytest.raises(UserError, match=r"there is no run yet\n.*launch rl"):
            find_run(text, "stop")


@pytest.mark.parametrize("command", LOOKING)
def test_to_look_at_the_newest_by_start_is_meant_whichever_was_touched_last(here: Path, command: str) -> None:
    a_run(here / "outputs" / "old", age=2 * HOUR, seen=0)
    newest = a_run(here / "outputs" / "new", age=HOUR, seen=5)
    assert meant(None, command) == newest


@pytest.mark.parametrize("command", LOOKING)
def test_to_look_at_a_living_run_is_meant_before_a_newer_one_that_has_ended(here: Path, command: str) -> None:
    living = a_run(here / "outputs" / "living", age=HOUR)
    a_run(here / "outputs" / "ended", state="finished")
    assert meant(None, command) == living


@pytest.mark.parametrize("command", CHANGING)
def test_when_several_are_alive_nothing_is_changed_and_they_are_listed(here: Path, command: str) -> None:
    one = a_run(here / "outputs" / "exp-a", age=HOUR)
    two = a_run(here / "outputs" / "exp-b")
    with pytest.raises(UserError) as refused:
        find_run(None, command)
    assert refused.value.message == "2 runs match; name one of them"
    first, second, typed = (refused.value.hint or "").split("\n  ")
    assert (first.startswith("exp-b  running, "), first.endswith(str(two))) == (True, True)
    assert (second.startswith("exp-a  running, "), second.endswith(str(one))) == (True, True)
    assert typed == f"such as: launch {command} exp-b"


def test_stop_means_the_only_living_run(here: Path) -> None:
    living = a_run(here / "outputs" / "living", age=HOUR)
    for name in ("failed", "finished"):
        a_run(here / "outputs" / name, state=name)
    assert meant(None, "stop") == living


def test_stop_means_the_newest_when_all_have_ended(here: Path) -> None:
    a_run(here / "outputs" / "old", state="failed", age=HOUR)
    new = a_run(here / "outputs" / "new", state="finished")
    assert meant(None, "stop") == new


def test_resume_means_the_only_run_that_has_not_finished(here: Path) -> None:
    failed = a_run(here / "outputs" / "failed", state="failed")
    a_run(here / "outputs" / "finished", state="finished", age=HOUR)
    assert meant(None, "resume") == failed


@pytest.mark.parametrize("states", [("failed", "failed"), ("finished", "failed"), ("finished", "finished")])
def test_resume_refuses_when_more_than_one_could_get_a_next_attempt(here: Path, states: tuple[str, str]) -> None:
    for number, state in enumerate(states):
        a_run(here / "outputs" / f"otter-{number}", state=state, age=number * HOUR)
    with pytest.raises(UserError, match="2 runs match"):
        find_run(None, "resume")


def test_a_run_that_cannot_be_read_says_why(here: Path) -> None:
    (here / "outputs" / "otter").mkdir(parents=True)
    (here / "outputs" / "otter" / "run.json").write_text('{"name": 1}')
    with pytest.raises(UserError, match=r"otter/run.json: cannot be read: name: Input should be a valid string"):
        find_run(None, "status")


# --- with RUN ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [*CHANGING, *LOOKING])
def test_a_run_elsewhere_is_meant_by_its_name_a_prefix_or_its_directory(tmp_path: Path, command: str) -> None:
    run = a_run(tmp_path / "far" / "directory", "calm-otter")
    for text in ("calm-otter", "calm", "c", "dir", str(run), "../far/directory", f"{run}/."):
        assert meant(text, command) == run


def test_a_whole_name_is_meant_before_another_that_begins_so(here: Path) -> None:
    short = a_run(here / "outputs" / "exp")
    a_run(here / "outputs" / "exp-lr3")
    assert meant("exp", "stop") == short


@pytest.mark.parametrize("command", [*CHANGING, *LOOKING])
def test_a_name_in_two_places_lists_both_directories(tmp_path: Path, here: Path, command: str) -> None:
    runs = [a_run(here / "outputs" / "otter"), a_run(tmp_path / "a 'b'" / "otter", state="finished")]
    with pytest.raises(UserError) as refused:
        find_run("otter", command)
    assert refused.value.message == "2 runs are called otter"
    for run in runs:
        assert f", {run}" in (refused.value.hint or "")
        assert meant(str(run), command) == run


def test_a_directory_here_and_a_run_of_that_name_elsewhere_are_both_listed(tmp_path: Path, here: Path) -> None:
    near, far = a_run(here / "otter", "fox"), a_run(tmp_path / "far", "otter")
    with pytest.raises(UserError, match="2 runs are called otter") as refused:
        find_run("otter", "stop")
    assert str(near) in str(refused.value) and str(far) in str(refused.value)
    assert meant("./otter", "stop") == near


def test_a_prefix_of_two_names_lists_both(tmp_path: Path, here: Path) -> None:
    a_run(here / "outputs" / "exp-a")
    a_run(tmp_path / "far", "exp-b")
    with pytest.raises(UserError, match="2 runs have names that begin with exp") as refused:
        find_run("exp", "stop")
    assert "exp-a  running" in str(refused.value) and "exp-b  running" in str(refused.value)


@pytest.mark.parametrize("text", ["", "third", "./far", "..", "x" * 5000, "no/such/place", "\udcff"])
def test_what_names_no_run_is_refused_with_the_newest(here: Path, text: str) -> None:
    a_run(here / "outputs" / "first", age=HOUR)
    a_run(here / "outputs" / "second")
    with pytest.raises(UserError, match=r"there is no run '.*'\n.*the newest: second, first"):
        find_run(text, "stop")


def test_a_directory_is_meant_when_one_stands_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(tmp_path / "far" / "otter")
    a_run(tmp_path / "far" / "fox")
    monkeypatch.chdir(run)
    assert [meant(text, "stop") for text in (None, ".", "../otter")] == [run, run, run]


def test_restart_means_the_only_living_run_and_says_what_else_is_typed(here: Path) -> None:
    a_run(here / "outputs" / "finished", state="finished")
    living = a_run(here / "outputs" / "living", age=HOUR)
    assert meant(None, "restart") == living
    a_run(here / "outputs" / "newer")
    with pytest.raises(UserError) as refused:
        find_run(None, "restart")
    assert refused.value.message == "2 runs match; name one of them"
    assert (refused.value.hint or "").endswith("such as: launch restart newer COMPONENT")
