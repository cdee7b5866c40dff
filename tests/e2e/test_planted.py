"""Run directories that somebody else has filled: nothing outside is touched, nothing waits for ever."""

import os

import pytest

from tests.launching import Launcher


def test_a_lock_that_is_a_link_is_refused_and_its_target_stays(launch: Launcher) -> None:
    target = launch.directory / "precious"
    target.write_text("precious")
    (launch.directory / "run").mkdir()
    (launch.directory / "run" / ".lock").symlink_to(target)
    run = launch.sft("pass")
    assert run.exit_code() == 2
    assert ".lock: cannot be written: is a symbolic link" in run.output.replace("\n", "")
    assert target.read_text() == "precious"


@pytest.mark.slow
def test_a_fifo_in_the_place_of_a_log_is_refused_before_anything_starts(launch: Launcher) -> None:
    assert launch.sft("raise SystemExit(3)").exit_code() == 1
    logs = launch.directory / "run" / "logs" / "attempt_2"
    logs.mkdir()
    for name in ("launcher.log", "trainer.log"):
        os.mkfifo(logs / name)
        again = launch("resume", "run", "--no-tmux")
        assert again.exit_code() == 2
        assert f"{name}: cannot be written: is not a regular file" in again.output.replace("\n", "")
        logs.mkdir(exist_ok=True)
        (logs / name).unlink(missing_ok=True)


@pytest.mark.parametrize("command", [("status",), ("resume", "run"), ("stop", "run")])
def test_a_fifo_in_the_place_of_run_json_holds_up_nobody(launch: Launcher, command: tuple[str, ...]) -> None:
    (launch.directory / "outputs" / "run").mkdir(parents=True)
    os.mkfifo(launch.directory / "outputs" / "run" / "run.json")
    assert launch(*command).exit_code() in (0, 2)


def test_a_config_toml_of_a_run_that_is_no_regular_file_is_refused_at_once(launch: Launcher) -> None:
    assert launch.sft("raise SystemExit(3)").exit_code() == 1
    config = launch.directory / "run" / "config.toml"
    config.unlink()
    os.mkfifo(config)
    again = launch("resume", "run", "--no-tmux")
    assert again.exit_code() == 2
    assert "config.toml: cannot be read: is not a regular file" in again.output.replace("\n", "")
