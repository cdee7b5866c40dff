"""setup_logger opens a rank's flight recorder to launch, and costs nothing else."""

import os
from pathlib import Path

import pytest

from launcher.processes.identity import boot_id, identify
from launcher.rundir import RunDir
from launcher.runs.state import ProcessState, RankState, RunState
from launcher.stacks.recorders import read_recorders
from tests.children import run_python

RANK = {"RANK": "1", "WORLD_SIZE": "2", "LAUNCH_ATTEMPT": "1"}
ASKED = """
import os, sys
from launcher import setup_logger
{imports}
from tests.instrumentation.test_recorder import lone_recording
print(lone_recording(os.environ["LAUNCH_RUN_DIR"]))
"""


def lone_recording(root: str) -> str:
    """What the process that calls this is told of itself, as rank 1."""
    rank = RankState(rank=1, log=Path("/log"), process=identify(os.getpid()))
    process = ProcessState(name="trainer", log=Path("/log"), ranks=[rank, rank])
    state = RunState.model_validate(
        {
            "name": "otter",
            "kind": "sft",
            "attempt": 1,
            "state": "running",
            "host": "here",
            "boot_id": boot_id(),
            "started": 0.0,
            "grace": 1.0,
            "progress": {"component": "trainer", "metric": "loss", "max_steps": None},
            "processes": [process.model_dump()],
        }
    )
    return read_recorders(RunDir(Path(root)), state)[0].trouble or "it answers"


def ask(imports: str, root: Path, **variables: str) -> str:
    project = Path(__file__).parents[2]
    code = ASKED.format(imports=imports)
    done = run_python(code, root, LAUNCH_RUN_DIR=str(root), PYTHONPATH=str(project), **{**RANK, **variables})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_a_rank_can_be_asked_whether_torch_was_imported_before_or_after(tmp_path: Path) -> None:
    assert ask("setup_logger()\nassert 'torch' not in sys.modules\nimport torch", tmp_path) == "it answers"
    assert ask("import torch\nsetup_logger()", tmp_path) == "it answers"


@pytest.mark.slow
def test_a_run_directory_with_a_very_long_name_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("a 'very' $(long) name " * 9) / ("and another " * 15)
    deep.mkdir(parents=True)
    assert ask("import torch\nsetup_logger()", deep) == "it answers"


def test_torch_is_not_imported_for_it(tmp_path: Path) -> None:
    code = "import sys\nfrom launcher import setup_logger\nsetup_logger()\nassert 'torch' not in sys.modules"
    done = run_python(code, tmp_path, LAUNCH_RUN_DIR=str(tmp_path), **RANK)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_nobody_else_may_enter_the_directory_of_the_sockets(tmp_path: Path) -> None:
    ask("import torch\nsetup_logger()", tmp_path)
    assert RunDir(tmp_path).sockets.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_may_enter_takes_no_socket(tmp_path: Path) -> None:
    sockets = RunDir(tmp_path).sockets
    sockets.mkdir(parents=True)
    sockets.chmod(0o755)
    assert "can be entered by others" in ask("import torch\nsetup_logger()", tmp_path)
    assert list(sockets.iterdir()) == []


@pytest.mark.slow
def test_a_process_outside_torchrun_opens_nothing(tmp_path: Path) -> None:
    ask("import torch\nsetup_logger()", tmp_path, WORLD_SIZE="1")
    assert not RunDir(tmp_path).sockets.exists()
