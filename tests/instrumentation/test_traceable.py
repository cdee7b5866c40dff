"""What `launch stacks` relies on in the processes that call setup_logger."""

from pathlib import Path

from launcher.instrumentation.traceable import STACKS_SIGNAL
from launcher.rundir import RunDir
from tests.children import run_python

REQUEST = f"""
import os, signal
from launcher import setup_logger
setup_logger()
def ask():
    signal.raise_signal({int(STACKS_SIGNAL)})
ask()
print(os.getpid())
"""


def test_setup_logger_makes_a_process_of_a_run_write_its_stacks_when_asked(tmp_path: Path) -> None:
    done = run_python(REQUEST, tmp_path, LAUNCH_RUN_DIR=str(tmp_path), LAUNCH_ATTEMPT="2")
    assert done.returncode == 0, done.stderr
    assert "in ask\n" in RunDir(tmp_path, 2).stacks(int(done.stdout)).read_text()


def test_outside_a_run_nothing_is_written_and_the_signal_ends_the_process(tmp_path: Path) -> None:
    assert run_python(REQUEST, tmp_path).returncode == -STACKS_SIGNAL
    assert list(tmp_path.iterdir()) == []


def test_a_run_directory_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    code = "from launcher import setup_logger; setup_logger(); print('on it goes')"
    done = run_python(code, tmp_path, LAUNCH_RUN_DIR=str(tmp_path))
    assert done.stdout == "on it goes\n", done.stderr


def test_a_forked_child_does_without_a_file(tmp_path: Path) -> None:
    code = "import os\nfrom launcher import setup_logger\nsetup_logger()\nif os.fork(): os.wait()"
    run_python(code, tmp_path, LAUNCH_RUN_DIR=str(tmp_path))
    assert len(list(RunDir(tmp_path).all_stacks.iterdir())) == 1
