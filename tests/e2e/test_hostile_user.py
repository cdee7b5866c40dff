"""Users as containers and clusters have them: without a home or a name, without rights, with few files or processes."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.rundir import RunDir
from launcher.runs.state import read_state
from tests.launching import LAUNCH
from tests.waiting import until

pytestmark = pytest.mark.slow  # many launches: CI runs them, and whoever asks for them

UID = "4711"
NAMELESS = ("unshare", "--user", "--map-user", UID, "--map-group", UID, "env", "--unset=XDG_STATE_HOME")
# May read what root may, so that it finds this interpreter, and no more.
OTHER = ("setpriv", "--reuid", UID, "--regid", UID, "--clear-groups")
OTHER += ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
TRUE = ("sft", "--no-tmux", "--trainer.command", "true")

Type = Callable[..., subprocess.CompletedProcess[str]]


def works(*wrapper: str) -> bool:
    return bool(shutil.which(wrapper[0])) and not subprocess.run([*wrapper, "true"], capture_output=True).returncode


@pytest.fixture
def typed(tmp_path: Path) -> Type:
    tmp_path.chmod(0o777)
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")}
    environment["XDG_STATE_HOME"] = str(tmp_path / "state")

    def type_(*words: str, wrapper: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = [*wrapper, LAUNCH, *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)

    return type_


@pytest.mark.skipif(not works(*NAMELESS), reason="no user namespaces here")
def test_a_user_without_home_and_name_can_use_every_command(typed: Type) -> None:
    for words in (
        (*TRUE, "--name", "otter"),
        ("status",),
        ("status", "otter"),
        ("logs", "otter"),
        ("stop",),
        ("resume", "otter", "--dry-run"),
        ("sft", "--dry-run"),
        ("doctor",),
        (*TRUE, "--output-dir", "elsewhere"),
        ("status", "elsewhere"),
    ):
        done = typed(*words, wrapper=NAMELESS)
        assert (done.returncode, done.stderr) == (0, ""), words


@pytest.mark.skipif(os.geteuid() != 0 or not works(*OTHER), reason="needs root, to become somebody else")
def test_another_users_run_is_left_alone_and_it_is_said_whose_it_is(typed: Type, tmp_path: Path) -> None:
    request = ("sft", "--no-tmux", "--detach", "--trainer.command", "sleep", "--trainer.args", "1000")
    assert typed(*request, "--output-dir", "run", "--name", "otter").returncode == 0
    try:
        for more in ((), ("--now",)):
            done = typed("stop", "run", *more, wrapper=OTHER)
            hint = f"  as root, type: launch stop {tmp_path}/run\n"
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr == f"launch: otter is a run of another user, root\n{hint}"
        state = read_state(RunDir(tmp_path / "run"))
        assert state is not None and state.state == "running"
        assert typed("status", "run", wrapper=OTHER).returncode == 0
    finally:
        assert typed("stop", "run").returncode == 0
    done = typed("resume", "run", "--trust", wrapper=OTHER)
    assert done.returncode == 2
    assert done.stderr.startswith(f"launch: {tmp_path}/run/")
    assert "cannot be written: Permission denied (root's)\n" in done.stderr


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("nofile=8", "launch: at most 8 open files in a process, and this run needs 36\n"),
        ("nproc=6", "launch: at most 6 processes and threads for this user, of which "),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0 or not works(*OTHER), reason="needs root, to become somebody else")
def test_a_limit_that_is_too_low_is_said_before_anything_is_made(
    typed: Type, tmp_path: Path, limit: str, message: str
) -> None:
    limited = (*OTHER, "prlimit", f"--{limit}:{limit.partition('=')[2]}")
    done = typed(*TRUE, "--output-dir", "run", wrapper=limited)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.geteuid() != 0 or not works(*OTHER), reason="needs root, to become somebody else")
def test_a_run_that_cannot_be_split_off_has_failed_and_does_not_look_as_if_it_had_died(
    typed: Type, tmp_path: Path
) -> None:
    """The last processes were taken between the check and the start: here, by the check's being switched off."""
    script = (
        "import launcher.machine.limits as l; l.check_limits = lambda n: None; import launcher.cli; launcher.cli.main()"
    )
    python = Path(LAUNCH).with_name("python")
    words = (str(python), "-c", script, *TRUE, "--output-dir", "run")
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    command = [*OTHER, "prlimit", "--nproc=1:1", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2
    assert done.stderr.startswith("launch: no further process or thread can be started: at most 1 for this user")
    state = until(lambda: read_state(RunDir(tmp_path / "run")))
    assert (state.state, state.exit_code) == ("failed", 1)
