"""`launch clean`: what of old runs may go, and removing it."""

import os
from pathlib import Path
from typing import Any

import pytest

from launcher.processes.identity import identify
from launcher.rundir import RunDir
from launcher.runs.directory import take_lock
from launcher.runs.registry import register
from launcher.runs.state import ProcessState
from tests.commands.terminal import Terminal
from tests.states import state_of

pytestmark = pytest.mark.usefixtures("here")
DAY = 86400.0


@pytest.fixture
def launch(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def an_ended(root: Path, days: float = 0, loss: float | None = None, config: str = "", **facts: Any) -> Path:
    """A run that ended so many days ago, with a checkpoint of 100 kB."""
    run = RunDir(root)
    for directory in (run.checkpoint(1), run.all_metrics, run.logs):
        directory.mkdir(parents=True)
    state = state_of(run, **facts)
    state.started -= days * DAY
    if state.ended:
        state.ended -= days * DAY
    run.state.write_text(state.model_dump_json())
    run.config.write_text(config)
    (run.checkpoint(1) / "model.safetensors").write_bytes(b"x" * 100_000)
    if loss is not None:
        run.metrics("trainer").write_text(f'{{"step": 1, "loss": {loss}}}\n')
    register(root, state.name)
    return root


def fate(shown: str, name: str) -> str:
    """ "goes", or "kept: …"."""
    line = next(line for line in shown.splitlines() if line.startswith(f"{name} "))
    return " ".join(line.split()[5:])


def test_nothing_is_removed_without_being_told(launch: Terminal, here: Path) -> None:
    root = an_ended(here / "outputs" / "otter")
    shown = launch("clean")
    assert fate(shown, "otter") == "goes" and "nothing was removed" in shown and (root / "run.json").exists()
    assert "1 run of 1 would go: 1" in shown
    assert "--delete without a choice" in launch("clean", "--delete", exit_code=2)


def test_old_and_failed_runs_can_be_chosen(launch: Terminal, here: Path) -> None:
    old = an_ended(here / "outputs" / "old", days=8)
    new = an_ended(here / "outputs" / "new", days=6)
    bad = an_ended(here / "outputs" / "bad", days=8, state="failed")
    assert fate(launch("clean", "--older-than", "7d"), "new") == "kept: ended 6d ago"
    assert fate(launch("clean", "--failed"), "old") == "kept: finished"
    assert "removed outputs/bad" in launch("clean", "--failed", "--older-than", "7d", "--delete")
    assert not bad.exists() and old.exists() and new.exists()
    launch("clean", "old", "--delete")
    assert not old.exists()
    assert "there is no run" in launch("clean", "old", exit_code=2)


def test_the_best_of_each_metric_stays(launch: Terminal, here: Path) -> None:
    for name, loss in {"a": 2.0, "b": 1.0, "c": 3.0}.items():
        an_ended(here / "outputs" / name, loss=loss)
    shown = launch("clean", "--keep-best")
    assert [fate(shown, name) for name in "abc"] == ["goes", "kept: the best loss", "goes"]


def test_a_living_run_never_goes(launch: Terminal, here: Path) -> None:
    running = an_ended(here / "outputs" / "running", state="running", supervisor=identify(os.getpid()))
    assert "running" in launch("clean", "running", "--delete") and (running / "checkpoints").exists()

    root = an_ended(here / "outputs" / "survivor")
    run = RunDir(root)
    living = ProcessState(name="trainer", log=run.component_log("trainer"), process=identify(os.getpid()))
    run.state.write_text(state_of(run, processes=[living]).model_dump_json())
    assert "trainer is alive" in launch("clean", "survivor", "--delete") and (root / "checkpoints").exists()

    root = an_ended(here / "outputs" / "locked")
    lock = take_lock(RunDir(root))
    assert "a run is active there" in launch("clean", "locked", "--delete", exit_code=1)
    os.close(lock)
    assert (root / "checkpoints").exists()


def test_a_silent_run_on_another_host_never_goes(launch: Terminal, here: Path) -> None:
    an_ended(here / "outputs" / "far", state="running", host="elsewhere")
    os.utime(here / "outputs" / "far" / "run.json", (0, 0))
    assert "kept: silent" in launch("clean", "far", "--delete")


def test_a_run_that_another_one_started_from_stays_until_both_go(launch: Terminal, here: Path) -> None:
    base = an_ended(here / "outputs" / "base")
    an_ended(here / "outputs" / "next", config='[trainer.model]\nname = "outputs/base"\n', cwd=here)
    assert fate(launch("clean", "base"), "base") == "kept: next started from it"
    launch("clean", "base", "next", "--delete")
    assert not base.exists()


def test_what_is_not_launchs_stays(launch: Terminal, here: Path) -> None:
    root = an_ended(here / "outputs" / "own", own_checkpoints=False)
    (root / "notes.txt").write_text("mine")
    (here / "precious").mkdir()
    (root / "weights").symlink_to(here / "precious")
    assert "its own checkpoints stay" in launch("clean", "own", "--delete")
    assert sorted(path.name for path in root.iterdir()) == ["checkpoints", "notes.txt"]
    assert (here / "precious").is_dir()


def test_a_directory_that_another_user_may_write_to_stays(launch: Terminal, here: Path) -> None:
    root = an_ended(here / "outputs" / "open")
    root.chmod(0o777)
    assert "writable by everybody" in fate(launch("clean", "open", "--delete"), "open") and root.exists()


def test_an_unreadable_run_is_left_alone(launch: Terminal, here: Path) -> None:
    root = an_ended(here / "outputs" / "broken")
    (root / "run.json").write_text("{")
    assert "there is no run here" in launch("clean") and root.exists()
    assert "cannot be read" in launch("clean", "broken", "--delete", exit_code=2)


def test_what_cannot_be_removed_is_one_message(launch: Terminal, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = an_ended(here / "outputs" / "stuck")

    def refuse(path: Path, *_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)  # root may remove everything
    assert "cannot be removed: Permission denied" in launch("clean", "stuck", "--delete", exit_code=1)
    assert root.exists()


@pytest.mark.parametrize("words", [["--older-than", "soon"], ["--older-than=-3d"], ["--older-than", "-3"], ["nobody"]])
def test_a_wrong_request_is_one_message(launch: Terminal, words: list[str]) -> None:
    assert launch("clean", *words, exit_code=2).startswith("launch: ")


def test_the_link_to_the_newest_run_goes_with_it(launch: Terminal, here: Path) -> None:
    root = an_ended(here / "outputs" / "otter")
    (here / "outputs" / "latest").symlink_to("otter")
    launch("clean", str(root), "--delete")
    assert not (here / "outputs" / "latest").is_symlink()


def test_a_link_called_latest_that_leads_elsewhere_stays(launch: Terminal, here: Path) -> None:
    an_ended(here / "outputs" / "otter")
    (here / "outputs" / "latest").symlink_to("/nowhere/mine")
    launch("clean", "otter", "--delete")
    assert (here / "outputs" / "latest").is_symlink()


def test_a_chain_of_runs_that_started_from_one_another_stays_with_its_last(launch: Terminal, here: Path) -> None:
    base = '[trainer.model]\nname = "outputs/{}"\n'
    an_ended(here / "outputs" / "a", days=9)
    an_ended(here / "outputs" / "b", days=8, config=base.format("a"), cwd=here)
    an_ended(here / "outputs" / "c", days=1, config=base.format("b"), cwd=here)
    shown = launch("clean", "--older-than", "2d")
    assert [fate(shown, name) for name in "ab"] == ["kept: b started from it", "kept: c started from it"]


def test_a_lock_that_is_a_link_and_a_home_that_nobody_has_are_no_traceback(launch: Terminal, here: Path) -> None:
    an_ended(here / "outputs" / "odd", config='[trainer.model]\nname = "~nobody-of-this-name/m"\n')
    root = an_ended(here / "outputs" / "linked")
    (root / ".lock").symlink_to(here / "elsewhere")
    assert "cannot be locked" in launch("clean", "linked", "--delete", exit_code=1)
    assert (root / "run.json").exists()
