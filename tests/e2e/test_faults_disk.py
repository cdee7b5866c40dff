"""The disk is full: a small tmpfs, while something is logged, saved or written down of the run's state."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.faulty import Ended, Faulty, start_rl
from tests.launching import Launcher
from tests.waiting import until


@pytest.fixture
def disk(launch: Launcher) -> Iterator[Path]:
    """The run's directory, on a disk of two megabytes."""
    directory = launch.directory / "run"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "tmpfs", str(directory)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a tmpfs")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(disk: Path) -> Path:
    """Take all that is left of the disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return filler


def check_failed(faulty: Faulty, culprit: str, cause: str) -> None:
    until(lambda: not faulty.launcher.alive())
    assert faulty.run.exit_code() == 1
    state = faulty.run.state()
    assert state.state == "failed"
    assert state.failure is not None
    assert state.failure.component == culprit
    assert cause in state.failure.text
    assert state.failure.text in faulty.run.output


def test_while_something_is_logged(launch: Launcher, disk: Path) -> None:
    code = "wait_for('go')\nwhile True:\n    os.write(1, b'another line\\n' * 1000)\n"
    faulty = start_rl(launch, orchestrator=code)
    faulty.wait_until_there()
    faulty.touch("go")
    check_failed(faulty, "orchestrator", f"the disk of {disk} is full")
    faulty.run.run.component_log("orchestrator").unlink()
    faulty.check_resume()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_while_the_state_is_written(launch: Launcher, disk: Path, number: signal.Signals, code: int) -> None:
    faulty = start_rl(launch)
    faulty.wait_until_there()
    filler = fill(disk)
    faulty.send("guard", number)
    faulty.check(Ended(code, "stopped"))
    filler.unlink()
    faulty.check_resume()


def test_before_the_start(launch: Launcher, disk: Path) -> None:
    fill(disk)
    run = launch("sft", "--trainer.command=true", "--output-dir", "run", "--no-tmux")
    assert run.exit_code() == 2
    assert f"{disk}: cannot be written: No space left on device" in run.output
    assert [path.name for path in disk.iterdir()] == ["filler"]


@pytest.mark.slow
def test_while_a_checkpoint_is_saved(launch: Launcher, disk: Path) -> None:
    run = launch("sft", "--output-dir", "run", "--no-tmux", "--max-steps", "2", "--trainer.model.tiny.dim", "256")
    assert run.exit_code() == 1
    failure = run.state().failure
    assert failure is not None
    assert (failure.component, failure.rank) == ("trainer", 0)
    assert "No space left on device" in failure.text
    assert not list(run.run.checkpoints.glob("step_*"))
