"""Making a run's directory: nothing of anybody else's is touched, and nothing is left behind after a refusal."""

import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.plan.spec import Plan
from launcher.rundir import RunDir
from launcher.runs.directory import check_free, point_latest_at, prepare, prepare_by_hand, remove_run, take_lock
from tests.plans import plan_of, sft


def plan_in(root: Path) -> Plan:
    return plan_of(sft(), root=root)


def everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else b"" for path in root.rglob("*")}


def prepared(plan: Plan, clean: bool = False) -> None:
    """Prepare it, and let go of it again as a run that has ended would."""
    os.close(prepare(plan, clean))


def ended_run(root: Path) -> Plan:
    """A run that has ended, with something in each of its places."""
    plan = plan_in(root)
    prepared(plan)
    plan.run.state.write_text("{}")
    for directory in (plan.run.checkpoint(3), plan.run.all_metrics, plan.run.rollouts, plan.run.all_weights):
        directory.mkdir(parents=True)
        (directory / "old").write_text("old")
    return plan


@pytest.mark.parametrize("name", ["otter", "a b", "it's", "$(touch pwned)", "two\nlines", "ünï 漢字", "-n", "a/b/c"])
def test_a_run_gets_its_directory_with_the_plans_files(tmp_path: Path, name: str) -> None:
    plan = plan_in(tmp_path / name)
    prepared(plan)
    assert {path: path.read_text() for path, _ in plan.files} == dict(plan.files)
    assert plan.run.logs.is_dir()
    assert plan.run.latest_logs.resolve() == plan.run.logs


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_configurations_are_the_users_alone_and_the_directory_follows_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        plan = plan_of(sft(), root=tmp_path / "run")
        os.close(prepare(plan, clean=False))
    finally:
        os.umask(before)
    assert plan.run.root.stat().st_mode & 0o777 == 0o777 & ~mask
    assert {path.stat().st_mode & 0o777 for path, _ in plan.files} == {0o600}


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    prepared(plan_in(tmp_path))
    assert RunDir(tmp_path).config.exists()


def test_files_of_others_beside_a_run_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    prepared(plan_in(tmp_path))
    ended_again = plan_in(tmp_path)
    RunDir(tmp_path).state.write_text("{}")
    prepared(ended_again, clean=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_directory_that_holds_a_run_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    plan = ended_run(tmp_path / "run")
    before = everything(tmp_path)
    with pytest.raises(UserError, match="holds a run already") as caught:
        prepare(plan, clean=False)
    assert f"launch resume {plan.run.root}" in str(caught.value)
    assert "--clean" in str(caught.value)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("name", ["logs", "checkpoints", "wandb", "metrics"])
def test_a_directory_with_the_names_of_a_run_but_no_run_json_is_not_ours(
    tmp_path: Path, name: str, clean: bool
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious").write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(UserError, match=f"{name} is there, but no run.json"):
        prepare(plan_in(tmp_path), clean)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("clean", [False, True])
def test_a_run_that_is_going_on_is_refused_and_left_as_it_is(tmp_path: Path, clean: bool) -> None:
    plan = plan_in(tmp_path / "run")
    lock = prepare(plan, clean=False)
    before = everything(tmp_path)
    with pytest.raises(UserError, match=f"a run is active there \\(pid {os.getpid()} on ") as caught:
        prepare(plan, clean)
    assert "launch stop" in str(caught.value)
    assert everything(tmp_path) == before
    os.close(lock)


UNWRITABLE = ["/proc/nowhere/run", "/dev/null/run", "/sys/run", f"/tmp/{'x' * 300}/run"]


@pytest.mark.parametrize("root", UNWRITABLE)
def test_a_directory_that_cannot_be_written_is_refused(root: str) -> None:
    with pytest.raises(UserError, match=r"cannot be written: .*\n.*--output-dir"):
        prepare(plan_in(Path(root)), clean=False)
    with pytest.raises(UserError, match=r"cannot be written: .*\n.*--output-dir"):
        prepare_by_hand(plan_in(Path(root)))


@pytest.mark.parametrize("root", ["file", "file/run", "new/er/" + "x" * 300])
def test_a_path_that_can_be_no_directory_leaves_nothing_behind(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("mine")
    before = everything(tmp_path)
    for attempt in (lambda plan: prepare(plan, clean=False), lambda plan: prepare_by_hand(plan)):
        with pytest.raises(UserError, match="cannot be written"):
            attempt(plan_in(tmp_path / root))
        assert everything(tmp_path) == before


@pytest.mark.parametrize("there", [False, True])
def test_a_disk_that_refuses_half_way_leaves_nothing_behind(tmp_path: Path, there: bool) -> None:
    root = tmp_path / "a" / "run"
    if there:
        root.mkdir(parents=True)
        (root / "notes.txt").write_text("mine")
    before = everything(tmp_path)
    whole = plan_in(root)
    (unwritable,) = (path for path, _ in whole.files if path == whole.run.config)
    plan = plan_of(sft(), root=root)
    object.__setattr__(plan, "files", (*plan.files, (unwritable / "below a file", "")))
    for attempt in (lambda: prepare(plan, clean=False), lambda: prepare_by_hand(plan)):
        with pytest.raises(UserError, match=r"cannot be written: (Not a directory|File exists)"):
            attempt()
        assert everything(tmp_path) == before


# --- --clean ----------------------------------------------------------------------------------------------------------


def test_clean_replaces_what_a_run_made_and_nothing_else(tmp_path: Path) -> None:
    plan = ended_run(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    prepared(plan, clean=True)
    assert not list(tmp_path.rglob("old"))
    assert plan.run.state.read_bytes() == b""
    assert (tmp_path / "notes.txt").exists()
    assert plan.run.config.exists()


def test_clean_and_removal_leave_no_folder_that_a_run_makes_and_no_weights_in_memory(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    for ended in (lambda plan: prepared(plan, clean=True), lambda plan: remove_run(plan.run)):
        plan = replace(plan_in(tmp_path / "run"), weights_dir=memory)
        prepared(plan, clean=True)
        plan.run.state.write_text("{}")
        for folder in plan.run.folders:
            (plan.run.root / folder).mkdir(exist_ok=True)
            (plan.run.root / folder / "old").write_text("old")
        assert list(memory.rglob("old"))
        ended(replace(plan, weights_dir=None))
        assert not list(tmp_path.rglob("old")) and not list(memory.iterdir())


def test_a_directory_for_weights_that_is_not_there_leaves_no_run_behind(tmp_path: Path) -> None:
    plan = replace(plan_in(tmp_path / "run"), weights_dir=tmp_path / "none")
    with pytest.raises(UserError, match=f"--weights-dir {tmp_path}/none: No such file"):
        prepare(plan, clean=False)
    assert list(tmp_path.iterdir()) == []


def test_clean_does_not_follow_a_link_out_of_the_directory(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "weights").write_text("precious")
    plan = ended_run(tmp_path / "run")
    plan.run.wandb.symlink_to(elsewhere)
    prepared(plan, clean=True)
    assert (elsewhere / "weights").exists()
    assert not plan.run.wandb.is_symlink()


def test_clean_without_a_run_is_no_error(tmp_path: Path) -> None:
    prepared(plan_in(tmp_path / "run"), clean=True)


# --- --dry-run with an output directory -------------------------------------------------------------------------------


def test_only_the_configurations_are_written_for_a_dry_run_and_the_run_may_follow(tmp_path: Path) -> None:
    plan = plan_in(tmp_path / "run")
    prepare_by_hand(plan)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {path for path, _ in plan.files}
    prepare_by_hand(plan)
    prepared(plan)


def test_a_dry_run_does_not_touch_a_run_that_is_there(tmp_path: Path) -> None:
    plan = ended_run(tmp_path)
    before = everything(tmp_path)
    with pytest.raises(UserError, match="holds a run already"):
        prepare_by_hand(plan)
    with pytest.raises(UserError, match="holds a run already"):
        check_free(plan.run, clean=False)
    assert everything(tmp_path) == before


# --- outputs/latest ---------------------------------------------------------------------------------------------------


def test_latest_is_a_link_that_moves_to_the_newest_run(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        point_latest_at(RunDir(tmp_path / name))
        assert (tmp_path / "latest").readlink() == Path(name)


def test_a_latest_that_is_somebodys_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    (tmp_path / "first").mkdir()
    point_latest_at(RunDir(tmp_path / "first"))
    assert (tmp_path / "latest").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "latest"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_a_directory_that_a_stranger_has_made_first_is_no_place_for_a_run(tmp_path: Path) -> None:
    """Its owner could replace what the components are about to read."""
    tmp_path.joinpath("run").mkdir()
    os.chown(tmp_path / "run", 4711, 4711)
    with pytest.raises(UserError, match="run is uid 4711's") as refused:
        prepare(plan_in(tmp_path / "run"), clean=False)
    assert "name another with --output-dir" in str(refused.value)
    (tmp_path / "run" / "run.json").write_text("")
    with pytest.raises(UserError, match=f"look at it with: launch status {tmp_path / 'run'}\n"):
        prepare(plan_in(tmp_path / "run"), clean=False)
    (tmp_path / "run" / "run.json").unlink()
    assert list((tmp_path / "run").iterdir()) == []
    os.close(prepare(plan_in(tmp_path / "run"), clean=False, trust=True))


def test_a_directory_that_everybody_may_write_is_no_place_for_a_run(tmp_path: Path) -> None:
    tmp_path.joinpath("run").mkdir()
    (tmp_path / "run").chmod(0o777)
    with pytest.raises(UserError, match="is writable by everybody"):
        prepare(plan_in(tmp_path / "run"), clean=False)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_lock_that_is_removed_while_it_is_taken_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, real = RunDir(tmp_path), fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        real(descriptor, how)
        monkeypatch.setattr(fcntl, "flock", real)
        run.lock.unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = take_lock(run)
    assert os.fstat(lock).st_ino == run.lock.stat().st_ino
    os.close(lock)
