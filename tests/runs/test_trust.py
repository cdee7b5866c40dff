"""Run directories that are somebody else's, or that others may write: looked at, not acted on."""

import grp
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.processes.identity import identify
from launcher.rundir import RunDir
from launcher.runs.state import load_state
from launcher.runs.state_file import StateFile
from launcher.runs.trust import check_trusted, is_private
from tests.launching import Launched, Launcher
from tests.waiting import until

STRANGER = 4711
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """As launch makes it with the user's own umask, nodes included."""
    run = RunDir(tmp_path / "a run's")
    run.on(1).own.mkdir(parents=True)
    for path in (run.root, run.all_nodes, run.on(1).own):
        path.chmod(0o755)
    for each in (run, run.on(1)):
        each.state.write_text("{}")
        each.config.write_text("")
        each.component_config("trainer").parent.mkdir(mode=0o755)
        each.state.chmod(0o644)
        each.config.chmod(0o600)
    return run


def complaint(run: RunDir) -> str:
    with pytest.raises(UserError) as raised:
        check_trusted(run, "otter", "stop", trust=False)
    check_trusted(run, "otter", "stop", trust=True)
    return str(raised.value)


def parts(run: RunDir) -> list[Path]:
    nodes = run.on(1)
    configs = [each.component_config("trainer").parent for each in (run, nodes)]
    return [run.root, run.state, run.config, run.all_nodes, nodes.own, nodes.state, nodes.config, *configs]


@AS_ROOT
@pytest.mark.parametrize("number", range(9))
def test_a_part_that_is_another_users_is_said_to_be_his(run: RunDir, number: int) -> None:
    check_trusted(run, "otter", "stop", trust=False)
    part = parts(run)[number]
    os.chown(part, STRANGER, STRANGER)
    assert f"{part} is uid {STRANGER}'s, and decides what launch stop does\n" in complaint(run)
    assert "add --trust to: launch stop" in complaint(run)


@pytest.mark.parametrize("number", range(9))
def test_a_part_that_everybody_may_write_is_not_trusted(run: RunDir, number: int) -> None:
    part = parts(run)[number]
    part.chmod(part.stat().st_mode | 0o002)
    assert f"{part} is writable by everybody" in complaint(run)
    assert "close it with: chmod -R go-w '" in complaint(run)


def test_what_the_users_own_group_may_write_is_trusted_and_what_another_group_may_is_not(run: RunDir) -> None:
    """A umask of 002, which supposes that each user has a group of the same name."""
    run.root.chmod(0o775)
    os.chown(run.root, -1, os.getegid())
    mine = pwd.getpwuid(os.geteuid()).pw_name == grp.getgrgid(os.getegid()).gr_name
    if mine:
        check_trusted(run, "otter", "stop", trust=False)
    if os.geteuid() == 0:
        os.chown(run.root, -1, STRANGER)
        assert f"is writable by the group {STRANGER}" in complaint(run)


def test_a_group_of_several_users_is_nobodys_own() -> None:
    shared = next((each for each in grp.getgrall() if set(each.gr_mem) - {each.gr_name}), None)
    assert not is_private(STRANGER, STRANGER + 1)
    assert is_private(STRANGER, STRANGER)
    if shared:
        assert not is_private(shared.gr_gid, os.geteuid())


def test_a_part_that_is_a_link_to_a_strangers_is_his(run: RunDir, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", STRANGER, STRANGER)
    run.all_nodes.rename(tmp_path / "before")
    run.all_nodes.symlink_to(tmp_path / "theirs")
    assert f"nodes is uid {STRANGER}'s" in complaint(run)


@pytest.mark.slow
@AS_ROOT
def test_the_commands_that_act_refuse_a_strangers_run_and_those_that_look_do_not(launch: Launcher) -> None:
    """Its run.json names a process of the user's own, which no command may end, with --trust either."""
    assert launch.sft("pass").exit_code() == 0
    with subprocess.Popen(["sleep", "1000"]) as victim:
        until(lambda: Path(f"/proc/{victim.pid}/comm").read_text() == "sleep\n")
        run = RunDir(launch.directory / "run")
        give_away(run, victim.pid)
        before = run.state.read_bytes()
        for words in (["stop", "run"], ["attach", "run"], ["resume", "run"]):
            assert_refused(launch(*words), f"run is uid {STRANGER}'s, and decides what launch {words[0]} does")
        assert_refused(launch.sft("pass", "--clean"), "decides what launch sft --clean does")
        assert_refused(launch.sft("pass"), "decides what launch sft does")
        assert run.state.read_bytes() == before
        for words in (["status", "run"], ["logs", "run"], ["status"]):
            assert launch(*words).exit_code() == 0
        assert_refused(launch("stop", "run", "--now", "--trust"), "are not proven to belong to this run")
        assert victim.poll() is None
        victim.kill()


def give_away(run: RunDir, pid: int) -> None:
    state = load_state(run)
    state.state, state.supervisor, state.guard = "running", identify(pid), identify(pid)
    StateFile(run, state).write()
    for path in (run.root, run.state):
        os.chown(path, STRANGER, STRANGER)


def assert_refused(launched: Launched, why: str) -> None:
    assert launched.exit_code() == 2
    assert why in launched.output.replace("\n", " "), launched.output
